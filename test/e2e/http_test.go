package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// caller is a browser-like program at an address range of its own: it keeps
// cookies, and speaks to one node under the public name.
type caller struct {
	t    *testing.T
	base string
	node *node
	jar  http.CookieJar
	http *http.Client
}

var ranges atomic.Uint32

// caller makes one.
func (n *node) caller() *caller {
	n.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.callerWith(jar)
}

func (n *node) callerWith(jar http.CookieJar) *caller {
	i := ranges.Add(1)
	from := net.IPv4(127, byte(1+i>>8), byte(i), 7)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 5 * time.Second}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, n.address)
	}}
	n.t.Cleanup(transport.CloseIdleConnections)
	return &caller{t: n.t, base: n.url, node: n, jar: jar, http: &http.Client{
		Jar: jar, Transport: transport, Timeout: 15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// at is the same browser, speaking to another node.
func (c *caller) at(n *node) *caller { return n.callerWith(c.jar) }

// reply is what came back.
type reply struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

func (c *caller) get(path string) reply { c.t.Helper(); return c.do(http.MethodGet, path, nil) }

// post sends a JSON body; headers are names and values in turn.
func (c *caller) post(path string, body any, headers ...string) reply {
	c.t.Helper()
	return c.do(http.MethodPost, path, body, headers...)
}

func (c *caller) do(method, path string, body any, headers ...string) reply {
	c.t.Helper()
	if body == nil {
		return c.send(method, path, "", nil, headers...)
	}
	b, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.send(method, path, "application/json", bytes.NewReader(b), headers...)
}

func (c *caller) send(method, path, media string, body io.Reader, headers ...string) reply {
	c.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, c.base+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.http.Do(r)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	for _, cookie := range res.Cookies() {
		c.node.secrets.keep(cookie.Value)
	}
	return reply{c.t, method + " " + path, res.StatusCode, res.Header, text}
}

// is fails the test unless the answer has this status.
func (r reply) is(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: status %d, want %d: %.600s", r.what, r.status, status, r.body)
	}
	return r
}

// refused fails the test unless the answer is a problem document with this
// status and code.
func (r reply) refused(status int, code string) reply {
	r.t.Helper()
	r.is(status)
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/problem+json") {
		r.t.Errorf("%s: a refusal as %q", r.what, kind)
	}
	if got := r.text("code"); got != code {
		r.t.Fatalf("%s: code %q, want %q: %.600s", r.what, got, code, r.body)
	}
	return r
}

// into reads the JSON answer.
func (r reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("%s: no JSON: %v: %.600s", r.what, err, r.body)
	}
}

// at returns what stands at a path of the JSON answer ("mitral.state",
// "codes.0.code"), nil where there is nothing.
func (r reply) at(path string) any {
	r.t.Helper()
	var v any
	r.into(&v)
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i := -1
			if _, err := fmt.Sscan(name, &i); err != nil || i < 0 || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// text is at as a text; "" where there is none.
func (r reply) text(path string) string {
	r.t.Helper()
	s, _ := r.at(path).(string)
	return s
}

// number is at as a number; it fails the test where there is none.
func (r reply) number(path string) float64 {
	r.t.Helper()
	n, ok := r.at(path).(float64)
	if !ok {
		r.t.Fatalf("%s: no number at %s: %.600s", r.what, path, r.body)
	}
	return n
}

// state is how the caller's session stands: "active", "locked", or "" signed
// out.
func (c *caller) state() string {
	c.t.Helper()
	r := c.get("/api/v1/auth/session").is(http.StatusOK)
	if strings.TrimSpace(string(r.body)) == "null" {
		return ""
	}
	return r.text("mitral.state")
}

// waitState waits until the session stands so, as every node must see it in
// time.
func (c *caller) waitState(within time.Duration, want string) {
	c.t.Helper()
	until(c.t, within, fmt.Sprintf("the session is %q", want), func() (bool, string) {
		got := c.state()
		return got == want, fmt.Sprintf("%q", got)
	})
}
