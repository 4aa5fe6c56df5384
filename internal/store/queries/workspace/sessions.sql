-- name: insertSession :exec
INSERT INTO session (id, workspace_id, user_id, device_id, grant_id, state, end_reason, acr, amr, method, factor_used, ip, ip_range,
    user_agent, auth_time, fresh_at, created_at, last_activity, locked_at, ended_at, absolute_at, lock_expires_at, skey_hash,
    skey_prev_hash, skey_sealed, skey_rotated_at, pin_misses, rev, changed_at)
VALUES (@id, @workspace_id, @user_id, @device_id, @grant_id, 'active', '', @acr, @amr, @method, @factor_used, @ip, @ip_range,
    @user_agent, @now, @now, @now, @now, 0, 0, @absolute_at, 0, @skey_hash, '', @skey_sealed, @now, 0, 1, @now);

-- name: session :one
SELECT * FROM session WHERE workspace_id = @workspace_id AND id = @id;

-- name: openSessions :many
SELECT * FROM session WHERE workspace_id = @workspace_id AND user_id = @user_id AND state <> 'ended' ORDER BY last_activity DESC, id;

-- name: openSessionsOfGrant :many
SELECT * FROM session WHERE workspace_id = @workspace_id AND grant_id = @grant_id AND state <> 'ended' ORDER BY id;

-- name: openSessionsOfDevice :many
SELECT * FROM session WHERE workspace_id = @workspace_id AND device_id = @device_id AND state <> 'ended' ORDER BY last_activity DESC;

-- name: endSession :execrows
UPDATE session SET state = 'ended', end_reason = @end_reason, ended_at = @now, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state <> 'ended';

-- name: lockSession :execrows
UPDATE session SET state = 'locked', locked_at = @now, lock_expires_at = @lock_expires_at, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state = 'active';

-- name: lockIdleSession :execrows
-- Locks only if the database too knows of no later activity.
UPDATE session SET state = 'locked', locked_at = @now, lock_expires_at = @lock_expires_at, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state = 'active' AND last_activity <= @idle_since;

-- name: parkSession :execrows
UPDATE session SET state = 'parked', locked_at = @now, lock_expires_at = @lock_expires_at, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state IN ('active', 'locked');

-- name: unlockSession :execrows
UPDATE session SET state = 'active', locked_at = 0, lock_expires_at = 0, last_activity = @now,
    skey_prev_hash = skey_hash, skey_hash = @skey_hash, skey_sealed = @skey_sealed, skey_rotated_at = @now,
    fresh_at = CASE WHEN CAST(@fresh AS BIGINT) > 0 THEN @now ELSE fresh_at END, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state IN ('locked', 'parked') AND lock_expires_at > @now;

-- name: holdSession :one
-- Held to the end of the transaction, while it has not ended.
UPDATE session SET pin_misses = pin_misses WHERE workspace_id = @workspace_id AND id = @id AND state <> 'ended' RETURNING *;

-- name: countSessionPinMiss :one
-- The fifth wrong PIN ends the session in the same statement.
UPDATE session SET pin_misses = pin_misses + 1,
    state = CASE WHEN pin_misses >= 4 THEN 'ended' ELSE state END,
    end_reason = CASE WHEN pin_misses >= 4 THEN 'pin_exhausted' ELSE end_reason END,
    ended_at = CASE WHEN pin_misses >= 4 THEN CAST(@now AS BIGINT) ELSE ended_at END,
    rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state <> 'ended' RETURNING *;

-- name: resetSessionPinMisses :exec
-- Not within an hour of a wrong PIN: the person's ledger would stop the PIN before the session's five are reached.
UPDATE session SET pin_misses = 0 WHERE session.workspace_id = @workspace_id AND session.id = @id AND NOT EXISTS (
    SELECT 1 FROM pin_miss WHERE pin_miss.workspace_id = session.workspace_id AND pin_miss.user_id = session.user_id
    AND pin_miss.device_id = session.device_id AND pin_miss.at > CAST(@now AS BIGINT) - 3600000000);

-- name: freshenSession :exec
UPDATE session SET fresh_at = @now, factor_used = CASE WHEN CAST(@factor_used AS BIGINT) > 0 THEN 1 ELSE factor_used END, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id;

-- name: rotateSkey :execrows
-- No new rev, but the other nodes hear of it with the next poll.
UPDATE session SET skey_prev_hash = skey_hash, skey_hash = @skey_hash, skey_sealed = @skey_sealed, skey_rotated_at = @now, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND skey_hash = @was;

-- name: replaceSkey :execrows
-- A change of rights.
UPDATE session SET skey_prev_hash = skey_hash, skey_hash = @skey_hash, skey_sealed = @skey_sealed, skey_rotated_at = @now, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state <> 'ended';

-- name: setSessionGrant :execrows
UPDATE session SET grant_id = @grant_id, absolute_at = CASE WHEN absolute_at > @ends_by THEN @ends_by ELSE absolute_at END,
    rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state <> 'ended';

-- name: touchSession :exec
UPDATE session SET rev = rev + 1, changed_at = @now WHERE workspace_id = @workspace_id AND id = @id;

-- name: insertRefreshToken :exec
INSERT INTO refresh_token (hash, session_id, workspace_id, device_id, ip_range, created_at, rotated_at, successor, presented_at)
VALUES (@hash, @session_id, @workspace_id, @device_id, @ip_range, @now, 0, '', 0);

-- name: rotateRefreshToken :execrows
-- One winner per token: only the live one, never rotated before, takes a successor.
UPDATE refresh_token SET rotated_at = @now, successor = @successor
WHERE workspace_id = @workspace_id AND hash = @hash AND rotated_at = 0;

-- name: replaceSuccessor :execrows
-- The answer that carried the successor was lost: the same device and range get another.
UPDATE refresh_token SET rotated_at = @now, successor = @successor
WHERE workspace_id = @workspace_id AND hash = @hash AND successor = @was;

-- name: presentRefreshToken :execrows
UPDATE refresh_token SET presented_at = @now WHERE workspace_id = @workspace_id AND hash = @hash AND presented_at = 0;

-- name: deleteUnpresentedToken :execrows
-- Only a successor that nobody has ever used can be taken back.
DELETE FROM refresh_token WHERE workspace_id = @workspace_id AND hash = @hash AND presented_at = 0 AND rotated_at = 0;

-- name: liveRefreshToken :one
SELECT * FROM refresh_token WHERE workspace_id = @workspace_id AND session_id = @session_id AND rotated_at = 0 ORDER BY created_at DESC LIMIT 1;

-- name: refreshToken :one
SELECT * FROM refresh_token WHERE workspace_id = @workspace_id AND hash = @hash;

-- name: insertStepUp :exec
INSERT INTO step_up (hash, workspace_id, session_id, action, tx_hash, method, created_at, expires_at)
VALUES (@hash, @workspace_id, @session_id, @action, @tx_hash, @method, @now, @expires_at);

-- name: spendStepUp :one
-- Only the session it was made for can spend a token, and only once.
DELETE FROM step_up WHERE workspace_id = @workspace_id AND hash = @hash AND session_id = @session_id RETURNING *;
