package store

import (
	"bytes"
	"context"
	"fmt"
)

// sealedColumn is a column whose values are sealed under the keyring's data
// keys. Row is the column that the seal is bound to besides table and column.
type sealedColumn struct{ table, key, row, column string }

// sealedColumns are all of them: what a rotation re-seals.
var sealedColumns = []sealedColumn{
	{"user_key", "id", "id", "verifier"},
	{"user_pin", "user_id", "user_id", "verifier"},
	{"pin_history", "id", "user_id", "verifier"},
	{"recovery_code", "id", "id", "digest"},
	{"sealed_code", "id", "id", "digest"},
	{"claim", "id", "id", "code_verifier"},
	{"message", "id", "id", "data"},
	{"break_glass", "id", "id", "pickup_verifier"},
	{"idempotency", "k", "k", "answer"},
}

// resealBatch is how many rows one transaction re-seals.
const resealBatch = 200

// Reseal hands every sealed value to reseal with the table, column and row it is
// bound to, and stores what comes back in its place unless it was changed
// meanwhile. A nil answer leaves the value. It returns how many it replaced.
func (db *DB) Reseal(ctx context.Context, reseal func(table, column, row string, sealed []byte) ([]byte, error)) (int, error) {
	n := 0
	for _, c := range sealedColumns {
		after := ""
		for {
			var last string
			var replaced int
			err := db.Upkeep(ctx, func(tx *UpkeepTx) (err error) {
				last, replaced, err = tx.reseal(c, after, reseal)
				return err
			})
			if err != nil {
				return n, fmt.Errorf("couldn't re-seal %s.%s: %w", c.table, c.column, err)
			}
			n += replaced
			if last == "" {
				break
			}
			after = last
		}
	}
	return n, nil
}

func (t *UpkeepTx) reseal(c sealedColumn, after string, f func(table, column, row string, sealed []byte) ([]byte, error)) (last string, n int, err error) {
	type value struct {
		key, row string
		sealed   []byte
	}
	rows, err := t.q.db.QueryContext(t.ctx, fmt.Sprintf("SELECT %s, %s, %s FROM %s WHERE %s > $1 ORDER BY %s LIMIT %d", c.key, c.row, c.column, c.table, c.key, c.key, resealBatch), after)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = rows.Close() }()
	var values []value
	for rows.Next() {
		var v value
		if err := rows.Scan(&v.key, &v.row, &v.sealed); err != nil {
			return "", 0, err
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		return "", 0, err
	}
	for _, v := range values {
		last = v.key
		if len(v.sealed) == 0 {
			continue
		}
		fresh, err := f(c.table, c.column, v.row, v.sealed)
		if err != nil {
			return "", 0, fmt.Errorf("row %s: %w", v.key, err)
		}
		if fresh == nil || bytes.Equal(fresh, v.sealed) {
			continue
		}
		if _, err := t.q.db.ExecContext(t.ctx, fmt.Sprintf("UPDATE %s SET %s = $1 WHERE %s = $2 AND %s = $3", c.table, c.column, c.key, c.column), fresh, v.key, v.sealed); err != nil {
			return "", 0, err
		}
		n++
	}
	return last, n, nil
}
