// Package notify owns messages: mail and SMS that acts enqueue in their own
// transaction, their delivery afterwards, and the transports that carry them.
// A message is a row with sealed data; its text is made when it is first sent,
// by what the enqueuing package registered. Delivery is at least once: a crash
// between sending and noting it sends the same text again, under the same
// Message-ID.
//
// It does not decide who is told what, and no failure of it ever reaches the
// act that enqueued.
package notify
