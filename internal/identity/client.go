package identity

import "net/netip"

// Client is where a request comes from, as far as throttle and record need it.
type Client struct {
	// IP is the address after trusted proxies were taken off; the zero value
	// for acts of the command line and the system.
	IP netip.Addr
	// UserAgent is a browser and a system from a fixed list ("Chrome, Windows"),
	// never the header itself.
	UserAgent string
	// Device is the id of the device whose cookie came along and verified, or "".
	Device string
}

// Address returns the address as text, or "" where there is none.
func (c Client) Address() string {
	if !c.IP.IsValid() {
		return ""
	}
	return c.IP.String()
}

// Range returns the address range that counters are kept for: the /24 of an
// IPv4 address (also when mapped into IPv6), the /64 of an IPv6 one.
func (c Client) Range() string {
	ip := c.IP.Unmap()
	bits := 64
	if ip.Is4() {
		bits = 24
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}
