// Package record owns the record's life after an event is written: it gives
// events their leaves in order (the sequencer), signs checkpoints and hands
// them out, proves that a leaf or an older log is contained, verifies a whole
// database, exports it, and tells its events as sentences. It also remembers
// outside the database how far the log has come (the high water), so that a
// database that was set back is noticed.
//
// It does not decide what is recorded, nor who may read it: acts record their
// own events in their own transactions, and doors ask elsewhere for permission.
package record
