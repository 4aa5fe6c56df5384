-- +goose Up
-- Times are microseconds since 1970 (0: never), ids are text, secrets are
-- sealed or hashed before they come here.

CREATE TABLE installation (
    id TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    last_wall INTEGER NOT NULL
) STRICT;

CREATE TABLE keyset (
    name TEXT PRIMARY KEY,
    rev INTEGER NOT NULL,
    blob BLOB NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE throttle (
    k TEXT PRIMARY KEY,
    n INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX throttle_until ON throttle (until);

CREATE TABLE workspace (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    reach TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    code_salt BLOB NOT NULL,
    next_ref INTEGER NOT NULL,
    next_code INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX workspace_changed ON workspace (changed_at);

CREATE TABLE policy (
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    rev INTEGER NOT NULL,
    document TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, rev)
) STRICT;

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    phone TEXT NOT NULL,
    role TEXT NOT NULL,
    visiting INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    claimed_at INTEGER NOT NULL,
    first_signed_in_at INTEGER NOT NULL,
    signed_in_at INTEGER NOT NULL,
    disabled_at INTEGER NOT NULL,
    role_changed_at INTEGER NOT NULL,
    role_changed_by TEXT NOT NULL,
    admin_until INTEGER NOT NULL,
    reviewer_until INTEGER NOT NULL,
    recovery_salt BLOB NOT NULL,
    pin_misses INTEGER NOT NULL,
    pause_level INTEGER NOT NULL,
    paused_until INTEGER NOT NULL,
    pin_stopped_at INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX users_email ON users (workspace_id, email) WHERE email <> '';
CREATE INDEX users_by_email ON users (email);
CREATE INDEX users_changed ON users (changed_at);

CREATE TABLE contact_history (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    value TEXT NOT NULL,
    replaced_at INTEGER NOT NULL
) STRICT;
CREATE INDEX contact_history_user ON contact_history (user_id, replaced_at);

CREATE TABLE user_key (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    verifier BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX user_key_user ON user_key (user_id);

CREATE TABLE user_pin (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    workspace_id TEXT NOT NULL,
    verifier BLOB NOT NULL,
    digits INTEGER NOT NULL,
    set_at INTEGER NOT NULL
) STRICT;
CREATE INDEX user_pin_digits ON user_pin (digits);

CREATE TABLE pin_history (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    verifier BLOB NOT NULL,
    retired_at INTEGER NOT NULL
) STRICT;
CREATE INDEX pin_history_user ON pin_history (user_id, retired_at);

CREATE TABLE pin_miss (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    path TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX pin_miss_user ON pin_miss (user_id, at);

CREATE TABLE recovery_code (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
CREATE INDEX recovery_code_user ON recovery_code (user_id);

CREATE TABLE device (
    id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    registered_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, id)
) STRICT;

CREATE TABLE device_user (
    device_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    since INTEGER NOT NULL,
    misses INTEGER NOT NULL,
    PRIMARY KEY (device_id, user_id)
) STRICT;

CREATE TABLE attempt (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    method TEXT NOT NULL,
    proven TEXT NOT NULL,
    need TEXT NOT NULL,
    device_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX attempt_expires ON attempt (expires_at);

CREATE TABLE session (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    device_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    state TEXT NOT NULL,
    end_reason TEXT NOT NULL,
    acr TEXT NOT NULL,
    amr TEXT NOT NULL,
    method TEXT NOT NULL,
    factor_used INTEGER NOT NULL,
    ip TEXT NOT NULL,
    ip_range TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    auth_time INTEGER NOT NULL,
    fresh_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    last_activity INTEGER NOT NULL,
    locked_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    absolute_at INTEGER NOT NULL,
    lock_expires_at INTEGER NOT NULL,
    skey_hash TEXT NOT NULL,
    skey_prev_hash TEXT NOT NULL,
    skey_sealed TEXT NOT NULL,
    skey_rotated_at INTEGER NOT NULL,
    pin_misses INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX session_of_user ON session (user_id, state);
CREATE INDEX session_grant ON session (grant_id);
CREATE INDEX session_changed ON session (changed_at);
CREATE INDEX session_state ON session (state, last_activity);

CREATE TABLE refresh_token (
    hash TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES session (id),
    workspace_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    ip_range TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    rotated_at INTEGER NOT NULL,
    successor TEXT NOT NULL,
    presented_at INTEGER NOT NULL
) STRICT;
CREATE INDEX refresh_token_session ON refresh_token (session_id);

CREATE TABLE step_up (
    hash TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    action TEXT NOT NULL,
    tx_hash TEXT NOT NULL,
    method TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX step_up_expires ON step_up (expires_at);

CREATE TABLE claim (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    kind TEXT NOT NULL,
    reset TEXT NOT NULL,
    channel TEXT NOT NULL,
    code_verifier BLOB NOT NULL,
    misses INTEGER NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    closed_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX claim_open ON claim (user_id) WHERE state = 'open';

CREATE TABLE message (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    recipient TEXT NOT NULL,
    template TEXT NOT NULL,
    data BLOB NOT NULL,
    grant_id TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    provider_ref TEXT NOT NULL,
    failure TEXT NOT NULL
) STRICT;
CREATE INDEX message_due ON message (state, next_at);
CREATE INDEX message_grant ON message (grant_id);

CREATE TABLE break_glass (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    ref TEXT NOT NULL,
    kind TEXT NOT NULL,
    drill INTEGER NOT NULL,
    subject_id TEXT NOT NULL,
    invoker TEXT NOT NULL,
    identity TEXT NOT NULL,
    category TEXT NOT NULL,
    reason TEXT NOT NULL,
    patient_ref TEXT NOT NULL,
    unidentified INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    code_id TEXT NOT NULL,
    pickup_verifier BLOB NOT NULL,
    pickup_misses INTEGER NOT NULL,
    pickup_expires_at INTEGER NOT NULL,
    flags TEXT NOT NULL,
    state TEXT NOT NULL,
    review TEXT NOT NULL,
    reviewer_id TEXT NOT NULL,
    acknowledged_at INTEGER NOT NULL,
    acknowledged_by TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    remaining INTEGER NOT NULL,
    remaining_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    ended_by TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX break_glass_open ON break_glass (subject_id) WHERE state = 'active' AND drill = 0;
CREATE INDEX break_glass_workspace ON break_glass (workspace_id, started_at);

CREATE TABLE break_glass_entry (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    grant_id TEXT NOT NULL REFERENCES break_glass (id),
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    text TEXT NOT NULL,
    verdict TEXT NOT NULL,
    fix TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX break_glass_entry_grant ON break_glass_entry (grant_id, created_at);

CREATE TABLE sealed_code (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    label TEXT NOT NULL,
    location TEXT NOT NULL,
    digest BLOB NOT NULL,
    minted_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    replace_by INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    grant_id TEXT NOT NULL
) STRICT;
CREATE INDEX sealed_code_workspace ON sealed_code (workspace_id);

CREATE TABLE idempotency (
    k TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    answer BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sequence_queue (
    event_id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    ord INTEGER NOT NULL
) STRICT;

CREATE TABLE audit_event (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    type TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor TEXT NOT NULL,
    user_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    leaf TEXT NOT NULL
) STRICT;
CREATE INDEX audit_event_workspace ON audit_event (workspace_id, at);
CREATE INDEX audit_event_grant ON audit_event (grant_id);

CREATE TABLE audit_log (
    log INTEGER PRIMARY KEY,
    origin TEXT NOT NULL,
    verifier_key TEXT NOT NULL,
    started_at INTEGER NOT NULL
) STRICT;

CREATE TABLE audit_leaf (
    log INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    event_id TEXT NOT NULL UNIQUE REFERENCES audit_event (id),
    PRIMARY KEY (log, idx)
) STRICT;

CREATE TABLE audit_node (
    log INTEGER NOT NULL,
    id INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (log, id)
) STRICT;

CREATE TABLE audit_checkpoint (
    log INTEGER NOT NULL,
    size INTEGER NOT NULL,
    note TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (log, size)
) STRICT;

-- The record is insert-only. A BEFORE INSERT guard refuses the row that would
-- replace another: INSERT OR REPLACE fires no DELETE trigger.
-- +goose StatementBegin
CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: UPDATE on audit_event is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: DELETE on audit_event is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_event_no_replace BEFORE INSERT ON audit_event WHEN EXISTS (SELECT 1 FROM audit_event WHERE id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: replacing a row of audit_event is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: UPDATE on audit_log is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: DELETE on audit_log is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log WHEN EXISTS (SELECT 1 FROM audit_log WHERE log = NEW.log) BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: replacing a row of audit_log is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_leaf_no_update BEFORE UPDATE ON audit_leaf BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: UPDATE on audit_leaf is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_leaf_no_delete BEFORE DELETE ON audit_leaf BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: DELETE on audit_leaf is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_leaf_no_replace BEFORE INSERT ON audit_leaf WHEN EXISTS (SELECT 1 FROM audit_leaf WHERE (log = NEW.log AND idx = NEW.idx) OR event_id = NEW.event_id) BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: replacing a row of audit_leaf is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_node_no_update BEFORE UPDATE ON audit_node BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: UPDATE on audit_node is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_node_no_delete BEFORE DELETE ON audit_node BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: DELETE on audit_node is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_node_no_replace BEFORE INSERT ON audit_node WHEN EXISTS (SELECT 1 FROM audit_node WHERE log = NEW.log AND id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: replacing a row of audit_node is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_checkpoint_no_update BEFORE UPDATE ON audit_checkpoint BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: UPDATE on audit_checkpoint is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_checkpoint_no_delete BEFORE DELETE ON audit_checkpoint BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: DELETE on audit_checkpoint is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_checkpoint_no_replace BEFORE INSERT ON audit_checkpoint WHEN EXISTS (SELECT 1 FROM audit_checkpoint WHERE log = NEW.log AND size = NEW.size) BEGIN
    SELECT RAISE(ABORT, 'the record is insert-only: replacing a row of audit_checkpoint is refused');
END;
-- +goose StatementEnd
