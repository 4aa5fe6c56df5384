package notify

import "crypto/x509"

// TestOnlyTrust lets a test's own certificate stand for one of the system's.
func (s *SMTP) TestOnlyTrust(roots *x509.CertPool) { s.tls.RootCAs = roots }
