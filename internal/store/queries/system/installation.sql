-- name: installation :one
SELECT * FROM installation LIMIT 1;

-- name: createInstallation :exec
INSERT INTO installation (id, created_at, last_wall) VALUES (@id, @now, @now) ON CONFLICT DO NOTHING;

-- name: storeWall :exec
UPDATE installation SET last_wall = @now WHERE last_wall < @now;

-- name: keysets :many
SELECT * FROM keyset ORDER BY name;

-- name: createKeyset :exec
-- Two nodes starting at once insert once; both then read what is there.
INSERT INTO keyset (name, rev, blob, changed_at) VALUES (@name, 1, @blob, @now) ON CONFLICT (name) DO NOTHING;

-- name: replaceKeyset :execrows
UPDATE keyset SET blob = @blob, rev = rev + 1, changed_at = @now WHERE name = @name AND rev = @was;

-- name: keysetRevs :one
SELECT CAST(COALESCE(SUM(rev), 0) AS BIGINT) FROM keyset;

-- name: workspaces :many
SELECT * FROM workspace ORDER BY created_at, id;

-- name: workspaceBySlug :one
SELECT * FROM workspace WHERE slug = @slug;

-- name: countWorkspaces :one
SELECT COUNT(*) FROM workspace;

-- name: insertWorkspace :exec
INSERT INTO workspace (id, slug, name, time_zone, reach, created_at, code_salt, next_ref, next_code, rev, changed_at)
VALUES (@id, @slug, @name, @time_zone, @reach, @now, @code_salt, 1, 1, 1, @now);

-- name: usersByEmail :many
-- Across workspaces: the identifier alone decides only when it is the only one.
SELECT * FROM users WHERE email = @email AND email <> '' ORDER BY id LIMIT 3;

-- name: pinsOfLength :one
-- Whether anybody's PIN has so many digits: 1 or 0.
SELECT COUNT(*) FROM (SELECT user_id FROM user_pin WHERE digits = @digits LIMIT 1) AS one;

-- name: anyUser :one
SELECT * FROM users WHERE id = @id;

-- name: anySession :one
SELECT * FROM session WHERE id = @id;

-- name: anyRefreshToken :one
SELECT * FROM refresh_token WHERE hash = @hash;

-- name: claimByToken :one
SELECT * FROM claim WHERE token_hash = @token_hash;

-- name: attemptByToken :one
SELECT * FROM attempt WHERE token_hash = @token_hash AND expires_at > @now;

-- name: anyGrant :one
SELECT * FROM break_glass WHERE id = @id;

-- name: changedSessions :many
SELECT * FROM session WHERE changed_at > @since;

-- name: changedUsers :many
SELECT * FROM users WHERE changed_at > @since;

-- name: changedWorkspaces :many
SELECT * FROM workspace WHERE changed_at > @since;

-- name: activeSince :many
-- Sessions that may be idle: the sweeper asks about each by name.
SELECT * FROM session WHERE state = 'active' AND last_activity <= @idle_since ORDER BY last_activity LIMIT 500;

-- name: overdueSessions :many
SELECT * FROM session WHERE state <> 'ended' AND (absolute_at <= @now OR (state IN ('locked', 'parked') AND lock_expires_at <= @now)) ORDER BY id LIMIT 500;

-- name: moveActivity :exec
UPDATE session SET last_activity = @at WHERE id = @id AND state = 'active' AND last_activity < @at;

-- name: lockAllActive :execrows
UPDATE session SET state = 'locked', locked_at = @now, lock_expires_at = @lock_expires_at, rev = rev + 1, changed_at = @now WHERE state = 'active';

-- name: deleteOldRefreshTokens :exec
DELETE FROM refresh_token WHERE session_id IN (SELECT id FROM session WHERE state = 'ended' AND ended_at > @after AND ended_at <= @before);

-- name: deleteOldAttempts :exec
DELETE FROM attempt WHERE expires_at < @now;

-- name: deleteOldStepUps :exec
DELETE FROM step_up WHERE expires_at < @now;

-- name: deleteOldThrottles :exec
DELETE FROM throttle WHERE until < @now;

-- name: deleteOldIdempotency :exec
DELETE FROM idempotency WHERE expires_at < @now;

-- name: countWithin :one
-- One more within a window that starts with the first; answers how many.
INSERT INTO throttle (k, n, since, until) VALUES (@k, 1, @now, CAST(@now AS BIGINT) + CAST(@span AS BIGINT))
ON CONFLICT (k) DO UPDATE SET n = CASE WHEN throttle.until <= CAST(@now AS BIGINT) THEN 1 ELSE throttle.n + 1 END,
    since = CASE WHEN throttle.until <= CAST(@now AS BIGINT) THEN CAST(@now AS BIGINT) ELSE throttle.since END,
    until = CASE WHEN throttle.until <= CAST(@now AS BIGINT) THEN CAST(@now AS BIGINT) + CAST(@span AS BIGINT) ELSE throttle.until END
RETURNING n;

-- name: countedWithin :one
SELECT n, since, until FROM throttle WHERE k = @k AND until > @now;

-- name: forgiveCount :exec
-- Takes back one of countWithin. The last one taken back ends its window.
UPDATE throttle SET n = n - 1, until = CASE WHEN n <= 1 THEN CAST(@now AS BIGINT) ELSE until END WHERE k = @k AND n > 0;

-- name: resetCount :exec
DELETE FROM throttle WHERE k = @k;

-- name: takeLease :execrows
-- A lease changes hands only when it has run out, and then under a new epoch.
INSERT INTO lease (name, holder, epoch, expires_at) VALUES (@name, @holder, 1, @expires_at)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = lease.epoch + 1, expires_at = excluded.expires_at
WHERE lease.expires_at <= CAST(@now AS BIGINT);

-- name: renewLease :execrows
UPDATE lease SET expires_at = @expires_at WHERE name = @name AND holder = @holder AND epoch = @epoch;

-- name: lease :one
SELECT * FROM lease WHERE name = @name;

-- name: dueMessages :many
SELECT * FROM message WHERE state = 'queued' AND channel = @channel AND next_at <= @now ORDER BY next_at, id LIMIT @count;

-- name: claimMessage :one
-- Takes a due message for this delivery: the next attempt is pushed away first, so that no two nodes send it.
UPDATE message SET attempts = attempts + 1, next_at = @next_at
WHERE id = @id AND state = 'queued' AND attempts = @attempts AND next_at <= @now RETURNING *;

-- name: keepMessageText :execrows
-- What was rendered for the first attempt is what every later one sends.
UPDATE message SET data = @data WHERE id = @id AND state = 'queued' AND attempts = @attempts;

-- name: settleMessage :execrows
-- Ends an attempt. One that was overtaken by a later attempt settles nothing.
UPDATE message SET state = @state, sent_at = @sent_at, provider_ref = @provider_ref, failure = @failure, next_at = @next_at, data = @data
WHERE id = @id AND state = 'queued' AND attempts = @attempts;

-- name: postponeMessage :execrows
-- The text cannot be made yet: no attempt was spent.
UPDATE message SET attempts = attempts - 1, next_at = @next_at WHERE id = @id AND state = 'queued' AND attempts = @attempts;

-- name: sentMessages :many
-- Messages whose provider is to be asked what became of them.
SELECT * FROM message WHERE state = 'sent' AND next_at > 0 AND next_at <= @now ORDER BY next_at, id LIMIT @count;

-- name: claimSentMessage :execrows
UPDATE message SET next_at = @next_at WHERE id = @id AND state = 'sent' AND next_at = @was;

-- name: settleSentMessage :execrows
-- A message that failed keeps in next_at when that was known.
UPDATE message SET state = @state, failure = @failure, next_at = @now WHERE id = @id AND state = 'sent';

-- name: undeliveredCount :one
SELECT COUNT(*) FROM message WHERE state = 'failed' AND next_at > @since;

-- name: queuedCount :one
SELECT COUNT(*) FROM message WHERE state = 'queued' AND attempts > 0;

-- name: activeGrants :many
SELECT * FROM break_glass WHERE state = 'active' AND drill = 0 ORDER BY started_at;

-- name: grantsSince :many
SELECT * FROM break_glass WHERE started_at > @since AND drill = 0 ORDER BY started_at LIMIT 500;

-- name: storeRemaining :exec
UPDATE break_glass SET remaining = @remaining, remaining_at = @now WHERE id = @id AND state = 'active' AND remaining > @remaining;

-- name: shortenGrant :exec
UPDATE break_glass SET expires_at = @expires_at WHERE id = @id AND state = 'active' AND expires_at > @expires_at;

-- name: workspaceOfDevice :one
SELECT workspace_id FROM device WHERE id = @id AND registered_at > 0 ORDER BY registered_at DESC LIMIT 1;

-- name: lockInstallation :execrows
-- Held to the end of the transaction: what is decided once per installation is decided one after the other.
UPDATE installation SET created_at = created_at;

-- name: forgetAllSkeys :execrows
-- Every session cookie is worth nothing now; people return by their refresh cookie.
UPDATE session SET skey_hash = '', skey_prev_hash = '', skey_rotated_at = 0, rev = rev + 1, changed_at = @now WHERE state <> 'ended';

-- name: endAllSessions :execrows
UPDATE session SET state = 'ended', end_reason = @end_reason, ended_at = @now, rev = rev + 1, changed_at = @now WHERE state <> 'ended';

-- name: deleteAllAttempts :exec
DELETE FROM attempt;

-- name: deleteAllStepUps :exec
DELETE FROM step_up;

-- name: voidAllClaims :execrows
UPDATE claim SET state = 'voided', closed_at = @now WHERE state = 'open';

-- name: spendAllSealedCodes :execrows
UPDATE sealed_code SET used_at = @now WHERE used_at = 0;

-- name: spendAllRecoveryCodes :execrows
UPDATE recovery_code SET used_at = @now WHERE used_at = 0;

-- name: expireAllGrants :execrows
UPDATE break_glass SET state = 'expired', ended_at = @now, ended_by = 'system', remaining = 0, review = 'awaiting_review', pickup_expires_at = 0
WHERE state = 'active';
