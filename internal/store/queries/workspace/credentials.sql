-- name: insertUserKey :exec
INSERT INTO user_key (id, workspace_id, user_id, verifier, created_at, expires_at)
VALUES (@id, @workspace_id, @user_id, @verifier, @now, 0);

-- name: liveUserKeys :many
SELECT * FROM user_key WHERE workspace_id = @workspace_id AND user_id = @user_id AND (expires_at = 0 OR expires_at > @now)
ORDER BY created_at DESC LIMIT 2;

-- name: expireUserKeys :exec
-- Every key of the person but one ends at the given time, those that end sooner excepted.
UPDATE user_key SET expires_at = @expires_at
WHERE workspace_id = @workspace_id AND user_id = @user_id AND id <> @keep_id AND (expires_at = 0 OR expires_at > @expires_at);

-- name: setUserKeyVerifier :execrows
-- Re-sealing and re-hashing: only over the verifier that was read.
UPDATE user_key SET verifier = @verifier WHERE workspace_id = @workspace_id AND id = @id AND verifier = @was;

-- name: putUserPin :exec
INSERT INTO user_pin (user_id, workspace_id, verifier, digits, set_at) VALUES (@user_id, @workspace_id, @verifier, @digits, @now)
ON CONFLICT (user_id) DO UPDATE SET verifier = excluded.verifier, digits = excluded.digits, set_at = excluded.set_at
WHERE user_pin.workspace_id = excluded.workspace_id;

-- name: userPin :one
SELECT * FROM user_pin WHERE workspace_id = @workspace_id AND user_id = @user_id;

-- name: setUserPinVerifier :execrows
UPDATE user_pin SET verifier = @verifier WHERE workspace_id = @workspace_id AND user_id = @user_id AND verifier = @was;

-- name: insertPinHistory :exec
INSERT INTO pin_history (id, workspace_id, user_id, verifier, retired_at)
VALUES (@id, @workspace_id, @user_id, @verifier, @now);

-- name: pinHistory :many
SELECT * FROM pin_history WHERE workspace_id = @workspace_id AND user_id = @user_id ORDER BY retired_at DESC LIMIT @count;

-- name: insertPinMiss :exec
INSERT INTO pin_miss (id, workspace_id, user_id, device_id, path, at) VALUES (@id, @workspace_id, @user_id, @device_id, @path, @now);

-- name: pinLedger :one
-- Wrong PINs of one person over every path: those of one device within an
-- hour, those of it or with the right key within a day and a month, and all
-- there are.
SELECT CAST(COALESCE(SUM(CASE WHEN at > @hour AND device_id = @device_id AND path <> 'key_pin' THEN 1 ELSE 0 END), 0) AS BIGINT) AS hour,
    CAST(COALESCE(SUM(CASE WHEN at > @day AND (device_id = @device_id OR path = 'key_pin') THEN 1 ELSE 0 END), 0) AS BIGINT) AS day,
    CAST(COALESCE(SUM(CASE WHEN at > @month AND (device_id = @device_id OR path = 'key_pin') THEN 1 ELSE 0 END), 0) AS BIGINT) AS month,
    COUNT(*) AS total
FROM pin_miss WHERE workspace_id = @workspace_id AND user_id = @user_id;

-- name: clearPinLedger :exec
DELETE FROM pin_miss WHERE workspace_id = @workspace_id AND user_id = @user_id;

-- name: insertRecoveryCode :exec
INSERT INTO recovery_code (id, workspace_id, user_id, digest, created_at, used_at)
VALUES (@id, @workspace_id, @user_id, @digest, @now, 0);

-- name: recoveryCodes :many
SELECT * FROM recovery_code WHERE workspace_id = @workspace_id AND user_id = @user_id ORDER BY id;

-- name: deleteRecoveryCodes :exec
DELETE FROM recovery_code WHERE workspace_id = @workspace_id AND user_id = @user_id;

-- name: seeDevice :exec
INSERT INTO device (id, workspace_id, kind, label, created_at, registered_at, seen_at)
VALUES (@id, @workspace_id, '', '', @now, 0, @now)
ON CONFLICT (workspace_id, id) DO UPDATE SET seen_at = excluded.seen_at;

-- name: device :one
SELECT * FROM device WHERE workspace_id = @workspace_id AND id = @id;

-- name: devices :many
SELECT * FROM device WHERE workspace_id = @workspace_id ORDER BY seen_at DESC LIMIT 500;

-- name: knowDevice :exec
-- The browser signed that person in; a device that lost its standing regains it so.
INSERT INTO device_user (device_id, user_id, workspace_id, since, misses) VALUES (@device_id, @user_id, @workspace_id, @now, 0)
ON CONFLICT (device_id, user_id) DO UPDATE SET misses = 0 WHERE device_user.workspace_id = excluded.workspace_id;

-- name: deviceUser :one
SELECT * FROM device_user WHERE workspace_id = @workspace_id AND device_id = @device_id AND user_id = @user_id;

-- name: countDeviceMiss :one
UPDATE device_user SET misses = misses + 1 WHERE workspace_id = @workspace_id AND device_id = @device_id AND user_id = @user_id RETURNING misses;

-- name: forgetDevice :exec
DELETE FROM device_user WHERE workspace_id = @workspace_id AND device_id = @device_id AND user_id = @user_id;

-- name: insertClaim :exec
INSERT INTO claim (id, token_hash, workspace_id, user_id, kind, reset, channel, code_verifier, misses, state, created_at, created_by, expires_at, closed_at)
VALUES (@id, @token_hash, @workspace_id, @user_id, @kind, @reset, @channel, @code_verifier, 0, 'open', @now, @created_by, @expires_at, 0);

-- name: voidClaims :exec
UPDATE claim SET state = 'voided', closed_at = @now WHERE workspace_id = @workspace_id AND user_id = @user_id AND state = 'open';

-- name: useClaim :one
-- The one statement that spends a claim.
UPDATE claim SET state = 'used', closed_at = @now
WHERE workspace_id = @workspace_id AND id = @id AND state = 'open' AND expires_at > @now RETURNING *;

-- name: countClaimMiss :one
-- The fifth wrong code voids the claim in the same statement.
UPDATE claim SET misses = misses + 1, state = CASE WHEN misses >= 4 THEN 'voided' ELSE state END,
    closed_at = CASE WHEN misses >= 4 THEN CAST(@now AS BIGINT) ELSE closed_at END
WHERE workspace_id = @workspace_id AND id = @id AND state = 'open' RETURNING *;

-- name: openClaims :many
SELECT * FROM claim WHERE workspace_id = @workspace_id AND state = 'open' AND expires_at > @now ORDER BY created_at DESC;

-- name: claimsOf :many
-- Claims made for one person since a time: who gave them their key.
SELECT * FROM claim WHERE workspace_id = @workspace_id AND user_id = @user_id AND created_at > @since ORDER BY created_at DESC LIMIT 100;

-- name: insertAttempt :exec
INSERT INTO attempt (id, token_hash, workspace_id, user_id, method, proven, need, device_id, created_at, expires_at)
VALUES (@id, @token_hash, @workspace_id, @user_id, @method, @proven, @need, @device_id, @now, @expires_at);

-- name: takeAttempt :one
DELETE FROM attempt WHERE workspace_id = @workspace_id AND id = @id AND expires_at > @now RETURNING *;

-- name: endAttemptsOfUser :exec
DELETE FROM attempt WHERE workspace_id = @workspace_id AND user_id = @user_id;
