// Package breakglass owns emergency access: who may open it and why, the
// grants, their windows and ends, sealed and pick-up codes, who is told, and
// the review afterwards. Sessions inside a grant are package session's, proofs
// package signin's, the people who are told package directory's.
//
// A grant is opened in one transaction: its event, its row, the sessions inside
// it and the messages about it. Everything that a start can be refused for is
// looked at before a step-up token or a code is spent, and every attempt that
// reaches a decision leaves one event, whatever the decision. Opening is never
// held up by anything but the database: a message that cannot be sent, or a
// checkpoint that is late, is reported and cared for afterwards.
package breakglass
