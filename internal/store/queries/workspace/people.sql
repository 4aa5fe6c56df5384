-- name: workspaceRow :one
SELECT * FROM workspace WHERE id = @workspace_id;

-- name: touchWorkspace :one
UPDATE workspace SET rev = rev + 1, changed_at = @now WHERE id = @workspace_id RETURNING rev;

-- name: takeRef :one
UPDATE workspace SET next_ref = next_ref + 1 WHERE id = @workspace_id RETURNING next_ref - 1;

-- name: takeCodeNumbers :one
UPDATE workspace SET next_code = next_code + CAST(@count AS BIGINT) WHERE id = @workspace_id RETURNING next_code - CAST(@count AS BIGINT);

-- name: insertUser :exec
INSERT INTO users (id, workspace_id, email, name, phone, role, visiting, created_at, created_by, claimed_at, first_signed_in_at,
    signed_in_at, disabled_at, role_changed_at, role_changed_by, admin_until, reviewer_until, recovery_salt, pin_misses, pause_level,
    paused_until, pin_stopped_at, rev, changed_at)
VALUES (@id, @workspace_id, @email, @name, @phone, @role, @visiting, @now, @created_by, @claimed_at, 0,
    0, 0, @now, @created_by, 0, 0, @recovery_salt, 0, 0, 0, 0, 1, @now);

-- name: user :one
SELECT * FROM users WHERE workspace_id = @workspace_id AND id = @id;

-- name: userByEmail :one
SELECT * FROM users WHERE workspace_id = @workspace_id AND email = @email AND email <> '';

-- name: users :many
SELECT * FROM users WHERE workspace_id = @workspace_id ORDER BY name, id;

-- name: touchUser :one
UPDATE users SET rev = rev + 1, changed_at = @now WHERE workspace_id = @workspace_id AND id = @id RETURNING rev;

-- name: setUserName :exec
UPDATE users SET name = @name, rev = rev + 1, changed_at = @now WHERE workspace_id = @workspace_id AND id = @id;

-- name: setUserEmail :exec
UPDATE users SET email = @email, rev = rev + 1, changed_at = @now WHERE workspace_id = @workspace_id AND id = @id;

-- name: setUserPhone :exec
UPDATE users SET phone = @phone, rev = rev + 1, changed_at = @now WHERE workspace_id = @workspace_id AND id = @id;

-- name: setUserRole :exec
UPDATE users SET role = @role, role_changed_at = @now, role_changed_by = @changed_by, admin_until = @admin_until,
    reviewer_until = @reviewer_until, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id;

-- name: setUserDisabled :exec
UPDATE users SET disabled_at = @disabled_at, admin_until = @admin_until, reviewer_until = @reviewer_until,
    rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id;

-- name: setUserClaimed :exec
UPDATE users SET claimed_at = @now, recovery_salt = @recovery_salt, rev = rev + 1, changed_at = @now
WHERE workspace_id = @workspace_id AND id = @id;

-- name: holdUser :one
-- Held to the end of the transaction: tries of one person are decided one after the other.
UPDATE users SET pin_misses = pin_misses WHERE workspace_id = @workspace_id AND id = @id RETURNING *;

-- name: setUserSignedIn :exec
-- The misses begin anew. A pause runs on: whoever has the key still has it.
UPDATE users SET signed_in_at = @now, first_signed_in_at = CASE WHEN first_signed_in_at = 0 THEN @now ELSE first_signed_in_at END,
    pin_misses = 0, pause_level = 0
WHERE workspace_id = @workspace_id AND id = @id;

-- name: resumeKeyPin :exec
-- A new key has nothing to do with what was tried with the old one.
UPDATE users SET pin_misses = 0, pause_level = 0, paused_until = 0 WHERE workspace_id = @workspace_id AND id = @id;

-- name: countUserPinMiss :one
-- One more wrong PIN with the right key since the last completed sign-in.
UPDATE users SET pin_misses = pin_misses + 1 WHERE workspace_id = @workspace_id AND id = @id RETURNING pin_misses;

-- name: pauseKeyPin :one
-- Starts the next pause (15 min, 1 h, 24 h) and forgives the misses that led to it.
UPDATE users SET pin_misses = 0, pause_level = CASE WHEN pause_level < 3 THEN pause_level + 1 ELSE 3 END,
    paused_until = CAST(@now AS BIGINT) + (CASE WHEN pause_level = 0 THEN 900000000 WHEN pause_level = 1 THEN 3600000000 ELSE 86400000000 END)
WHERE workspace_id = @workspace_id AND id = @id RETURNING paused_until;

-- name: setPinStopped :exec
UPDATE users SET pin_stopped_at = @pin_stopped_at, rev = rev + 1, changed_at = @now WHERE workspace_id = @workspace_id AND id = @id;

-- name: insertContactHistory :exec
INSERT INTO contact_history (id, workspace_id, user_id, channel, value, replaced_at)
VALUES (@id, @workspace_id, @user_id, @channel, @value, @now);

-- name: recentContacts :many
SELECT * FROM contact_history WHERE workspace_id = @workspace_id AND user_id = @user_id AND replaced_at > @since ORDER BY replaced_at;

-- name: insertPolicy :exec
INSERT INTO policy (workspace_id, rev, document, actor, reason, created_at)
VALUES (@workspace_id, @rev, @document, @actor, @reason, @now);

-- name: currentPolicy :one
SELECT * FROM policy WHERE workspace_id = @workspace_id ORDER BY rev DESC LIMIT 1;

-- name: policyHistory :many
SELECT * FROM policy WHERE workspace_id = @workspace_id ORDER BY rev DESC LIMIT 100;

-- name: setRecoverySalt :exec
UPDATE users SET recovery_salt = @recovery_salt, rev = rev + 1, changed_at = @now WHERE workspace_id = @workspace_id AND id = @id;
