-- name: insertEvent :exec
INSERT INTO audit_event (id, at, workspace_id, type, outcome, actor, user_id, session_id, grant_id, leaf)
VALUES (@id, @at, @workspace_id, @type, @outcome, @actor, @user_id, @session_id, @grant_id, @leaf);

-- name: queueEvent :exec
INSERT INTO sequence_queue (event_id, at, ord) VALUES (@event_id, @at, @ord);

-- name: unqueueEvent :exec
DELETE FROM sequence_queue WHERE event_id = @event_id;

-- name: insertLeaf :exec
INSERT INTO audit_leaf (log, idx, event_id) VALUES (@log, @idx, @event_id);

-- name: insertNode :exec
INSERT INTO audit_node (log, id, hash) VALUES (@log, @id, @hash);
