-- name: queuedEvents :many
SELECT audit_event.* FROM sequence_queue JOIN audit_event ON audit_event.id = sequence_queue.event_id
ORDER BY sequence_queue.at, sequence_queue.ord, sequence_queue.event_id LIMIT @count;

-- name: insertLog :exec
INSERT INTO audit_log (log, origin, verifier_key, started_at) VALUES (@log, @origin, @verifier_key, @started_at);

-- name: logs :many
SELECT * FROM audit_log ORDER BY log;

-- name: currentLog :one
SELECT * FROM audit_log ORDER BY log DESC LIMIT 1;

-- name: treeSize :one
SELECT CAST(COALESCE(MAX(idx) + 1, 0) AS BIGINT) FROM audit_leaf WHERE log = @log;

-- name: node :one
SELECT hash FROM audit_node WHERE log = @log AND id = @id;

-- name: insertCheckpoint :exec
INSERT INTO audit_checkpoint (log, size, note, at) VALUES (@log, @size, @note, @at);

-- name: lastCheckpoint :one
SELECT * FROM audit_checkpoint WHERE log = @log ORDER BY size DESC LIMIT 1;

-- name: checkpointCovering :one
-- The smallest checkpoint that holds the leaf of that index.
SELECT * FROM audit_checkpoint WHERE log = @log AND size > @idx ORDER BY size LIMIT 1;

-- name: checkpointBefore :one
-- The newest checkpoint that was signed by the given time.
SELECT * FROM audit_checkpoint WHERE log = @log AND at <= @before ORDER BY size DESC LIMIT 1;

-- name: checkpoints :many
SELECT * FROM audit_checkpoint WHERE log = @log AND size > @after AND size <= @upto ORDER BY size;

-- name: leafOfEvent :one
SELECT * FROM audit_leaf WHERE event_id = @event_id;

-- name: leaves :many
SELECT audit_leaf.idx, audit_event.id, audit_event.at, audit_event.workspace_id, audit_event.leaf
FROM audit_leaf JOIN audit_event ON audit_event.id = audit_leaf.event_id
WHERE audit_leaf.log = @log AND audit_leaf.idx >= @from_idx AND audit_leaf.idx < @to_idx ORDER BY audit_leaf.idx;

-- name: recordedLeaves :many
-- For the verifier: leaves with their events, and with nothing where the event is gone.
SELECT audit_leaf.idx, audit_leaf.event_id, CAST(COALESCE(audit_event.at, 0) AS BIGINT) AS at,
    CAST(COALESCE(audit_event.workspace_id, '') AS TEXT) AS workspace_id, CAST(COALESCE(audit_event.type, '') AS TEXT) AS type,
    CAST(COALESCE(audit_event.outcome, '') AS TEXT) AS outcome, CAST(COALESCE(audit_event.actor, '') AS TEXT) AS actor,
    CAST(COALESCE(audit_event.user_id, '') AS TEXT) AS user_id, CAST(COALESCE(audit_event.session_id, '') AS TEXT) AS session_id,
    CAST(COALESCE(audit_event.grant_id, '') AS TEXT) AS grant_id, CAST(COALESCE(audit_event.leaf, '') AS TEXT) AS leaf
FROM audit_leaf LEFT JOIN audit_event ON audit_event.id = audit_leaf.event_id
WHERE audit_leaf.log = @log AND audit_leaf.idx >= @from_idx AND audit_leaf.idx < @to_idx ORDER BY audit_leaf.idx;

-- name: countLeaves :one
SELECT COUNT(*) FROM audit_leaf;

-- name: countEvents :one
SELECT COUNT(*) FROM audit_event;

-- name: repeatedEvents :many
-- Events that more than one leaf names.
SELECT event_id FROM audit_leaf GROUP BY event_id HAVING COUNT(*) > 1 ORDER BY event_id LIMIT 10;

-- name: leavesOfEvent :many
SELECT * FROM audit_leaf WHERE event_id = @event_id ORDER BY log, idx LIMIT 10;

-- name: unsequencedBefore :one
-- Events older than the given time that no leaf names: deleted leaves, or a stopped sequencer.
SELECT COUNT(*) FROM audit_event LEFT JOIN audit_leaf ON audit_leaf.event_id = audit_event.id
WHERE audit_leaf.event_id IS NULL AND audit_event.at < @before;

-- name: nodes :many
SELECT id, hash FROM audit_node WHERE log = @log AND id >= @from_id AND id < @to_id ORDER BY id;

-- name: countNodes :one
SELECT COUNT(*) FROM audit_node WHERE log = @log;

-- name: allEvents :many
-- Every event of a workspace in the order it was recorded, sequenced or not.
SELECT * FROM audit_event WHERE workspace_id = @workspace_id ORDER BY at, id;
