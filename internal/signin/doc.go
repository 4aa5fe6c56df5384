// Package signin owns the machine that everybody passes who proves who they
// are: sign-in, unlock, step-up, and the gate before Mitral's own acts.
//
// A method only proves; it never decides. Every attempt goes the same way, in
// this order: throttle, account state, policy, the method's proof, the event,
// and then [next], a pure function that says whether the person is signed in
// or what is still asked. All PIN checks of every path are one function,
// [Machine.ProvePIN] with [Machine.SettlePIN], and one ledger.
//
// Proofs are computed outside transactions, in [Slots]; decisions are single
// statements inside them.
package signin
