-- +goose Up
-- Times are microseconds since 1970 (0: never), ids are text, secrets are
-- sealed or hashed before they come here.

CREATE TABLE installation (
    id TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    last_wall BIGINT NOT NULL
);

CREATE TABLE keyset (
    name TEXT PRIMARY KEY,
    rev BIGINT NOT NULL,
    blob BYTEA NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE throttle (
    k TEXT PRIMARY KEY,
    n BIGINT NOT NULL,
    since BIGINT NOT NULL,
    until BIGINT NOT NULL
);
CREATE INDEX throttle_until ON throttle (until);

CREATE TABLE workspace (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    reach TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    code_salt BYTEA NOT NULL,
    next_ref BIGINT NOT NULL,
    next_code BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX workspace_changed ON workspace (changed_at);

CREATE TABLE policy (
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    rev BIGINT NOT NULL,
    document TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, rev)
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    phone TEXT NOT NULL,
    role TEXT NOT NULL,
    visiting BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    claimed_at BIGINT NOT NULL,
    first_signed_in_at BIGINT NOT NULL,
    signed_in_at BIGINT NOT NULL,
    disabled_at BIGINT NOT NULL,
    role_changed_at BIGINT NOT NULL,
    role_changed_by TEXT NOT NULL,
    admin_until BIGINT NOT NULL,
    reviewer_until BIGINT NOT NULL,
    recovery_salt BYTEA NOT NULL,
    pin_misses BIGINT NOT NULL,
    pause_level BIGINT NOT NULL,
    paused_until BIGINT NOT NULL,
    pin_stopped_at BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX users_email ON users (workspace_id, email) WHERE email <> '';
CREATE INDEX users_by_email ON users (email);
CREATE INDEX users_changed ON users (changed_at);

CREATE TABLE contact_history (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    value TEXT NOT NULL,
    replaced_at BIGINT NOT NULL
);
CREATE INDEX contact_history_user ON contact_history (user_id, replaced_at);

CREATE TABLE user_key (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    verifier BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX user_key_user ON user_key (user_id);

CREATE TABLE user_pin (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    workspace_id TEXT NOT NULL,
    verifier BYTEA NOT NULL,
    digits BIGINT NOT NULL,
    set_at BIGINT NOT NULL
);
CREATE INDEX user_pin_digits ON user_pin (digits);

CREATE TABLE pin_history (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    verifier BYTEA NOT NULL,
    retired_at BIGINT NOT NULL
);
CREATE INDEX pin_history_user ON pin_history (user_id, retired_at);

CREATE TABLE pin_miss (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    path TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX pin_miss_user ON pin_miss (user_id, at);

CREATE TABLE recovery_code (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);
CREATE INDEX recovery_code_user ON recovery_code (user_id);

CREATE TABLE device (
    id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    registered_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, id)
);

CREATE TABLE device_user (
    device_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    since BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    PRIMARY KEY (device_id, user_id)
);

CREATE TABLE attempt (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    method TEXT NOT NULL,
    proven TEXT NOT NULL,
    need TEXT NOT NULL,
    device_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
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
    factor_used BIGINT NOT NULL,
    ip TEXT NOT NULL,
    ip_range TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    fresh_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_activity BIGINT NOT NULL,
    locked_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    absolute_at BIGINT NOT NULL,
    lock_expires_at BIGINT NOT NULL,
    skey_hash TEXT NOT NULL,
    skey_prev_hash TEXT NOT NULL,
    skey_sealed TEXT NOT NULL,
    skey_rotated_at BIGINT NOT NULL,
    pin_misses BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
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
    created_at BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    successor TEXT NOT NULL,
    presented_at BIGINT NOT NULL
);
CREATE INDEX refresh_token_session ON refresh_token (session_id);

CREATE TABLE step_up (
    hash TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    action TEXT NOT NULL,
    tx_hash TEXT NOT NULL,
    method TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX step_up_expires ON step_up (expires_at);

CREATE TABLE claim (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    kind TEXT NOT NULL,
    reset TEXT NOT NULL,
    channel TEXT NOT NULL,
    code_verifier BYTEA NOT NULL,
    misses BIGINT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    closed_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX claim_open ON claim (user_id) WHERE state = 'open';

CREATE TABLE message (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    recipient TEXT NOT NULL,
    template TEXT NOT NULL,
    data BYTEA NOT NULL,
    grant_id TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    provider_ref TEXT NOT NULL,
    failure TEXT NOT NULL
);
CREATE INDEX message_due ON message (state, next_at);
CREATE INDEX message_grant ON message (grant_id);

CREATE TABLE break_glass (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    ref TEXT NOT NULL,
    kind TEXT NOT NULL,
    drill BIGINT NOT NULL,
    subject_id TEXT NOT NULL,
    invoker TEXT NOT NULL,
    identity TEXT NOT NULL,
    category TEXT NOT NULL,
    reason TEXT NOT NULL,
    patient_ref TEXT NOT NULL,
    unidentified BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    code_id TEXT NOT NULL,
    pickup_verifier BYTEA NOT NULL,
    pickup_misses BIGINT NOT NULL,
    pickup_expires_at BIGINT NOT NULL,
    flags TEXT NOT NULL,
    state TEXT NOT NULL,
    review TEXT NOT NULL,
    reviewer_id TEXT NOT NULL,
    acknowledged_at BIGINT NOT NULL,
    acknowledged_by TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    remaining BIGINT NOT NULL,
    remaining_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    ended_by TEXT NOT NULL
);
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
    created_at BIGINT NOT NULL
);
CREATE INDEX break_glass_entry_grant ON break_glass_entry (grant_id, created_at);

CREATE TABLE sealed_code (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    label TEXT NOT NULL,
    location TEXT NOT NULL,
    digest BYTEA NOT NULL,
    minted_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    replace_by BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    grant_id TEXT NOT NULL
);
CREATE INDEX sealed_code_workspace ON sealed_code (workspace_id);

CREATE TABLE idempotency (
    k TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    answer BYTEA NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE sequence_queue (
    event_id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    ord BIGINT NOT NULL
);

CREATE TABLE audit_event (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    workspace_id TEXT NOT NULL,
    type TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor TEXT NOT NULL,
    user_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    leaf TEXT NOT NULL
);
CREATE INDEX audit_event_workspace ON audit_event (workspace_id, at);
CREATE INDEX audit_event_grant ON audit_event (grant_id);

CREATE TABLE audit_log (
    log BIGINT PRIMARY KEY,
    origin TEXT NOT NULL,
    verifier_key TEXT NOT NULL,
    started_at BIGINT NOT NULL
);

CREATE TABLE audit_leaf (
    log BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    event_id TEXT NOT NULL UNIQUE REFERENCES audit_event (id),
    PRIMARY KEY (log, idx)
);

CREATE TABLE audit_node (
    log BIGINT NOT NULL,
    id BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (log, id)
);

CREATE TABLE audit_checkpoint (
    log BIGINT NOT NULL,
    size BIGINT NOT NULL,
    note TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (log, size)
);

-- The record is insert-only, also for the owner of its tables.
-- +goose StatementBegin
CREATE FUNCTION record_is_insert_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the record is insert-only: % on % is refused', TG_OP, TG_TABLE_NAME;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_event_keep BEFORE UPDATE OR DELETE ON audit_event FOR EACH ROW EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_event_keep_all BEFORE TRUNCATE ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_log_keep BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_log_keep_all BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_leaf_keep BEFORE UPDATE OR DELETE ON audit_leaf FOR EACH ROW EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_leaf_keep_all BEFORE TRUNCATE ON audit_leaf FOR EACH STATEMENT EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_node_keep BEFORE UPDATE OR DELETE ON audit_node FOR EACH ROW EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_node_keep_all BEFORE TRUNCATE ON audit_node FOR EACH STATEMENT EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_checkpoint_keep BEFORE UPDATE OR DELETE ON audit_checkpoint FOR EACH ROW EXECUTE FUNCTION record_is_insert_only();
CREATE TRIGGER audit_checkpoint_keep_all BEFORE TRUNCATE ON audit_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION record_is_insert_only();
