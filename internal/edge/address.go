package edge

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/mitral-health/mitral/internal/identity"
)

// peer returns the address at the other end of the connection.
func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

// fromProxy reports whether the request comes from a declared proxy.
func (e *Edge) fromProxy(r *http.Request) bool {
	ip := peer(r)
	return ip.IsValid() && slices.ContainsFunc(e.trusted, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// onlyDeclared refuses, where plain http is lawful only behind a proxy, every
// other peer: what it sends has crossed the network in the clear.
func (e *Edge) onlyDeclared(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.only && !anybody(r.URL.Path) && !e.fromProxy(r) {
			WriteProblem(w, r, wire{http.StatusForbidden, "not_through_proxy",
				"This server is reached through its proxy, at its public address. Open that instead."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// onlyOurHosts answers 421 to names that are neither the public URL's nor an
// application's: a page that has rebound its own name to this machine's address
// gets nothing (RFC 9110 §15.5.20). The forward check of a declared proxy says
// itself which host it asks about.
func (e *Edge) onlyOurHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, ours := e.hosts[strings.ToLower(r.Host)]
		switch {
		case ours:
			of(r.Context()).origin = origin
		case anybody(r.URL.Path), r.URL.Path == forwardPath && e.fromProxy(r) && r.Header.Get("X-Forwarded-Host") != "":
		default:
			WriteProblem(w, r, wire{http.StatusMisdirectedRequest, "misdirected",
				"This server does not answer under that name. Open it at its public address."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// clientAddress finds out whose request it is. Behind declared proxies that is
// the first address of X-Forwarded-For, read from the right, that is none of
// theirs; nobody else's header is looked at. Where a proxy's header cannot be
// read it is the proxy's own address: everybody behind it shares its counters
// then.
func (e *Edge) clientAddress(next http.Handler) http.Handler {
	return e.address(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ip := middleware.GetClientIPAddr(r.Context())
		if !ip.IsValid() {
			ip = peer(r)
		}
		of(r.Context()).client = identity.Client{IP: ip.WithZone(""), UserAgent: identity.ReduceUserAgent(r.UserAgent())}
		next.ServeHTTP(w, r)
	}))
}

// hostsOf returns the Host headers that mean an origin: with and without the
// scheme's own port.
func hostsOf(origin string) []string {
	u, err := url.Parse(origin)
	if err != nil {
		return nil
	}
	host := strings.ToLower(u.Host)
	ports := map[string]string{"http": ":80", "https": ":443"}
	if u.Port() == "" {
		return []string{host, host + ports[u.Scheme]}
	}
	if bare, ok := strings.CutSuffix(host, ports[u.Scheme]); ok {
		return []string{host, bare}
	}
	return []string{host}
}
