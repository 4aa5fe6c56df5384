// Package js owns the browser side for applications, one ES module without
// dependencies that Mitral serves at /sdk/mitral-lock.js: heartbeat, lock curtain,
// emergency banner and step-up. It does not serve it and keeps no state.
package js
