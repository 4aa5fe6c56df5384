// Package audit owns the form of the record: what an event is, the canonical
// bytes of its leaf, how leaves are hashed into the tree and how a checkpoint
// is written and read. It stores nothing and signs nothing by itself; package
// store keeps the rows and package record sequences, signs and verifies them.
package audit
