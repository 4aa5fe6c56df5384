// Package store owns the database: one set of queries on SQLite and
// PostgreSQL, the transactions that acts run in, the schema and its
// migrations, the clock, and the append of events and tree to the record.
//
// There are four kinds of transaction. [DB.Workspace] is bound to one
// workspace by type: its queries cannot name another. [DB.System] crosses
// workspaces and hands out workspace transactions inside itself. Both refuse
// to commit a change without an event. [DB.Upkeep] is for what changes without
// being an act: activity, renewals, leases, delivery, the tree. [DB.Read] and
// [DB.ReadSystem] only read, without a transaction.
//
// On SQLite one writer groups commits: each act runs in its own savepoint,
// the batch's leaves and tree hashes go into the same COMMIT, and nobody is
// answered before it returns. On PostgreSQL every act is a transaction of its
// own and package record sequences events afterwards.
//
// Queries are written in queries/, checked by sqlc against both schemas, and
// bound to the transaction types by bind.go.
package store

//go:generate sqlc generate
//go:generate go run bind.go
