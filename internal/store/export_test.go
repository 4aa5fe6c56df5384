package store

// TestOnlyWaiting returns how many acts wait for SQLite's writer.
func (db *DB) TestOnlyWaiting() int { return len(db.writer.jobs) }

// TestOnlyExec runs a statement of the test's own in the transaction.
func (t *UpkeepTx) TestOnlyExec(query string) error {
	_, err := t.q.db.ExecContext(t.ctx, query)
	return err
}

// Schema is the embedded migrations.
var Schema = schema
