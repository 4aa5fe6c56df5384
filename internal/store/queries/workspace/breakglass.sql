-- name: insertGrant :exec
INSERT INTO break_glass (id, workspace_id, ref, kind, drill, subject_id, invoker, identity, category, reason, patient_ref, unidentified,
    event_id, device_id, code_id, pickup_verifier, pickup_misses, pickup_expires_at, flags, state, review, reviewer_id, acknowledged_at,
    acknowledged_by, started_at, expires_at, remaining, remaining_at, ended_at, ended_by)
VALUES (@id, @workspace_id, @ref, @kind, @drill, @subject_id, @invoker, @identity, @category, @reason, @patient_ref, @unidentified,
    @event_id, @device_id, @code_id, @pickup_verifier, 0, @pickup_expires_at, @flags, 'active', 'none', '', 0,
    '', @now, @expires_at, @remaining, @now, 0, '');

-- name: grant :one
SELECT * FROM break_glass WHERE workspace_id = @workspace_id AND id = @id;

-- name: openGrantOf :one
SELECT * FROM break_glass WHERE workspace_id = @workspace_id AND subject_id = @subject_id AND state = 'active' AND drill = 0;

-- name: grants :many
SELECT * FROM break_glass WHERE workspace_id = @workspace_id ORDER BY started_at DESC, id LIMIT 500;

-- name: grantsOfSubject :many
SELECT * FROM break_glass WHERE workspace_id = @workspace_id AND subject_id = @subject_id ORDER BY started_at DESC, id LIMIT 20;

-- name: grantsOfPerson :many
-- Those that somebody used or opened, newest first.
SELECT * FROM break_glass WHERE workspace_id = @workspace_id AND (subject_id = @user_id OR invoker = @user_id) ORDER BY started_at DESC, id LIMIT 50;

-- name: countOpenGrants :one
SELECT COUNT(*) FROM break_glass WHERE workspace_id = @workspace_id AND state = 'active' AND drill = 0;

-- name: endGrant :execrows
-- The first terminal transition wins.
UPDATE break_glass SET state = @state, ended_at = @ended_at, ended_by = @ended_by, remaining = 0, review = 'awaiting_review'
WHERE workspace_id = @workspace_id AND id = @id AND state = 'active';

-- name: setGrantIdentity :exec
UPDATE break_glass SET identity = @identity WHERE workspace_id = @workspace_id AND id = @id;

-- name: setGrantFlags :execrows
-- Only over the flags that were read.
UPDATE break_glass SET flags = @flags WHERE workspace_id = @workspace_id AND id = @id AND flags = @was;

-- name: countPickupMiss :one
UPDATE break_glass SET pickup_misses = pickup_misses + 1 WHERE workspace_id = @workspace_id AND id = @id AND pickup_misses < 5 RETURNING pickup_misses;

-- name: takePickup :execrows
-- The one statement that spends a pick-up code.
UPDATE break_glass SET pickup_expires_at = 0
WHERE workspace_id = @workspace_id AND id = @id AND state = 'active' AND pickup_misses < 5 AND pickup_expires_at > @now;

-- name: acknowledgeGrant :execrows
-- What subject or invoker saw does not keep anybody else from having seen it.
UPDATE break_glass SET acknowledged_at = @now, acknowledged_by = @acknowledged_by
WHERE workspace_id = @workspace_id AND id = @id AND (acknowledged_at = 0 OR acknowledged_by = subject_id OR acknowledged_by = invoker)
    AND acknowledged_by <> @acknowledged_by;

-- name: reviewGrant :execrows
UPDATE break_glass SET review = @review, reviewer_id = @reviewer_id
WHERE workspace_id = @workspace_id AND id = @id AND review IN ('awaiting_review', 'needs_info');

-- name: insertGrantEntry :exec
INSERT INTO break_glass_entry (id, workspace_id, grant_id, kind, actor, text, verdict, fix, created_at)
VALUES (@id, @workspace_id, @grant_id, @kind, @actor, @text, @verdict, @fix, @now);

-- name: grantEntries :many
SELECT * FROM break_glass_entry WHERE workspace_id = @workspace_id AND grant_id = @grant_id ORDER BY created_at, id;

-- name: insertSealedCode :exec
INSERT INTO sealed_code (id, workspace_id, label, location, digest, minted_by, created_at, replace_by, used_at, grant_id)
VALUES (@id, @workspace_id, @label, @location, @digest, @minted_by, @now, @replace_by, 0, '');

-- name: sealedCodes :many
SELECT * FROM sealed_code WHERE workspace_id = @workspace_id ORDER BY label;

-- name: spendSealedCode :execrows
-- The one statement that spends a sealed code.
UPDATE sealed_code SET used_at = @now, grant_id = @grant_id WHERE workspace_id = @workspace_id AND id = @id AND used_at = 0;

-- name: lendSealedCode :execrows
-- An unspent code that let somebody into an open grant unlocks the session it opened there, too.
UPDATE sealed_code SET grant_id = @grant_id WHERE workspace_id = @workspace_id AND id = @id AND used_at = 0;

-- name: insertIdempotency :execrows
-- Of two requests with one key the first has its answer kept.
INSERT INTO idempotency (k, workspace_id, grant_id, answer, expires_at) VALUES (@k, @workspace_id, @grant_id, @answer, @expires_at)
ON CONFLICT (k) DO UPDATE SET workspace_id = excluded.workspace_id, grant_id = excluded.grant_id, answer = excluded.answer, expires_at = excluded.expires_at
WHERE idempotency.expires_at <= CAST(@now AS BIGINT);

-- name: idempotentAnswer :one
SELECT * FROM idempotency WHERE workspace_id = @workspace_id AND k = @k AND expires_at > @now;

-- name: insertMessage :exec
INSERT INTO message (id, workspace_id, user_id, channel, recipient, template, data, grant_id, state, attempts, next_at, created_at, sent_at, provider_ref, failure)
VALUES (@id, @workspace_id, @user_id, @channel, @recipient, @template, @data, @grant_id, @state, 0, @next_at, @now, 0, '', @failure);

-- name: messagesOfGrant :many
SELECT * FROM message WHERE workspace_id = @workspace_id AND grant_id = @grant_id ORDER BY created_at, id;

-- name: grantMessages :many
-- Messages about any grant, newest first.
SELECT * FROM message WHERE workspace_id = @workspace_id AND grant_id <> '' AND template = @template ORDER BY created_at DESC, id LIMIT 2000;

-- name: messages :many
SELECT * FROM message WHERE workspace_id = @workspace_id ORDER BY created_at DESC, id LIMIT 200;

-- name: events :many
-- The workspace's share of the record, newest first, below an index.
SELECT audit_leaf.log, audit_leaf.idx, audit_event.* FROM audit_leaf JOIN audit_event ON audit_event.id = audit_leaf.event_id
WHERE audit_event.workspace_id = @workspace_id AND audit_leaf.log = @log AND audit_leaf.idx < @before
ORDER BY audit_leaf.idx DESC LIMIT @count;

-- name: eventsOfGrant :many
SELECT * FROM audit_event WHERE workspace_id = @workspace_id AND grant_id = @grant_id ORDER BY at, id LIMIT 1000;

-- name: eventsOfUser :many
SELECT * FROM audit_event WHERE workspace_id = @workspace_id AND user_id = @user_id ORDER BY at DESC, id LIMIT @count;

-- name: eventsBetween :many
-- The workspace's share of count leaves from an index. The LIMIT inside keeps the planner from starting with all events of the workspace.
SELECT part.log, part.idx, audit_event.* FROM
    (SELECT log, idx, event_id FROM audit_leaf WHERE audit_leaf.log = @log AND audit_leaf.idx >= @from_idx AND audit_leaf.idx < @to_idx
        ORDER BY audit_leaf.idx LIMIT @count) AS part
    JOIN audit_event ON audit_event.id = part.event_id
WHERE audit_event.workspace_id = @workspace_id AND audit_event.at >= @from_at AND audit_event.at < @to_at
ORDER BY part.idx;

-- name: recordedEvents :many
-- The workspace's share of one log (0: the current one), newest first, below an index; person, beginning of the type and grant only where given.
SELECT audit_leaf.log, audit_leaf.idx, audit_event.* FROM audit_leaf JOIN audit_event ON audit_event.id = audit_leaf.event_id
WHERE audit_event.workspace_id = @workspace_id AND audit_leaf.idx < @before
    AND audit_leaf.log = CASE WHEN CAST(@log AS BIGINT) = 0 THEN (SELECT MAX(audit_log.log) FROM audit_log) ELSE CAST(@log AS BIGINT) END
    AND audit_event.at >= @from_at AND audit_event.at < @to_at
    AND (CAST(@user_id AS TEXT) = '' OR audit_event.user_id = @user_id) AND substr(audit_event.type, 1, CAST(@length AS INTEGER)) = @kind
    AND (CAST(@grant_id AS TEXT) = '' OR audit_event.grant_id = @grant_id)
ORDER BY audit_leaf.idx DESC LIMIT @count;
