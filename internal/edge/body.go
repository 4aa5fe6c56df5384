package edge

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/identity"
)

const (
	// MaxBody is the most that a request's body may hold, in bytes.
	MaxBody = 64 << 10
	// MaxDepth is how deep arrays and objects may lie inside each other.
	MaxDepth = 32

	bodyWithin  = 10 * time.Second
	drainWithin = 2 * time.Second
)

// limit refuses a body over MaxBody, at once where its length is announced and
// else as it is read, and an address that is no text.
func (e *Edge) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := url.QueryUnescape(r.URL.RawQuery)
		if err != nil || !isText(query) || !isText(r.URL.Path) {
			WriteProblem(w, r, malformed("url", "not_text", "The address is not UTF-8 text."))
			return
		}
		if r.ContentLength > MaxBody && r.Method != http.MethodGet && r.Method != http.MethodHead {
			if r.Header.Get("Expect") == "" { // such a sender waits for the answer first
				c := http.NewResponseController(w)
				_ = c.SetReadDeadline(time.Now().Add(drainWithin))
				drain(r.Body)
				_ = c.SetReadDeadline(time.Time{})
			}
			writeProblem(w, tooLarge(of(r.Context())))
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &bounded{r.Body, MaxBody}
		}
		next.ServeHTTP(w, r)
	})
}

// bounded is a body that may hold so much and no more; what is over it is an
// *http.MaxBytesError.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, &http.MaxBytesError{Limit: MaxBody}
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		drain(b.ReadCloser)
		return n - 1, &http.MaxBytesError{Limit: MaxBody}
	}
	return n, err
}

// drain takes some of a body that is too long, so that its sender comes to read
// why it was refused: one whose sending breaks off may never look.
func drain(body io.Reader) { _, _ = io.CopyN(io.Discard, body, 16*MaxBody) }

func tooLarge(q *request) *Problem {
	p := newProblem(q, http.StatusRequestEntityTooLarge, "too_large", "That is more than this server reads: at most 64 KiB.")
	p.Errors = []identity.FieldError{{Field: "body", Code: "too_large", Detail: "At most 64 KiB."}}
	return p
}

// errMedia is the refusal of a body that is of another kind than the route
// reads.
func errMedia(want string) error {
	return wire{http.StatusUnsupportedMediaType, "media_type", "Send the body as " + want + "."}
}

// ReadJSON returns the body of a JSON request, or none where nothing was sent.
// It refuses what is of another media type, no single JSON value, not UTF-8,
// deeper than MaxDepth, or names a member twice, so that whatever reads it
// afterwards sees what every other reader would see. fields are the names that
// a refusal may repeat: others are the sender's own text.
func ReadJSON(w http.ResponseWriter, r *http.Request, fields func(name string) bool) ([]byte, error) {
	body, err := read(w, r)
	if err != nil {
		return nil, err
	}
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case len(body) == 0 && r.Header.Get("Content-Type") == "":
		return nil, nil
	case err != nil || kind != "application/json", parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8"):
		return nil, errMedia("application/json")
	case len(body) == 0:
		return nil, nil
	}
	if err := checkJSON(body, fields); err != nil {
		return nil, err
	}
	return body, nil
}

// ReadForm returns the fields of a form post (application/x-www-form-
// urlencoded). It refuses another media type, and what is not UTF-8 text.
func ReadForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, errMedia("application/x-www-form-urlencoded")
	}
	body, err := read(w, r)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !utf8.Valid(body) {
		return nil, malformed("body", "not_a_form", "The form could not be read.")
	}
	for _, values := range form {
		for _, v := range values {
			if !isText(v) {
				return nil, malformed("body", "not_text", "The form is not UTF-8 text.")
			}
		}
	}
	return form, nil
}

// read reads the whole body within ten seconds.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	c := http.NewResponseController(w)
	bounded := c.SetReadDeadline(time.Now().Add(bodyWithin)) == nil // test recorders have none
	body, err := io.ReadAll(r.Body)
	if bounded {
		// A deadline that passes while the request is answered would cancel it.
		_ = c.SetReadDeadline(time.Time{})
	}
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, err
	case err != nil:
		return nil, malformed("body", "unreadable", "The request broke off before it was complete. Send it again.")
	}
	return body, nil
}

func malformed(field, code, detail string) error {
	r := identity.Refuse(identity.Malformed, "malformed", "The request could not be read: "+lower(detail))
	r.Fields = []identity.FieldError{{Field: field, Code: code, Detail: detail}}
	return r
}

func lower(sentence string) string {
	return strings.ToLower(sentence[:1]) + sentence[1:]
}

// checkJSON walks a text once.
func checkJSON(body []byte, fields func(string) bool) error {
	if !utf8.Valid(body) {
		return malformed("body", "invalid_utf8", "It is not UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	w := walker{d, fields}
	if err := w.value("", 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed("body", "trailing", "There is more than one JSON value.")
	}
	return nil
}

type walker struct {
	*json.Decoder
	fields func(string) bool
}

func (w walker) value(path string, depth int) error {
	t, err := w.Token()
	if err != nil {
		return notJSON()
	}
	open, ok := t.(json.Delim)
	text, _ := t.(string)
	switch {
	case !isText(text):
		return malformed(named(path), "not_text", "It holds a character that is no text.")
	case !ok:
		return nil
	case depth == MaxDepth:
		top, _, _ := strings.Cut(path, "[")
		return malformed(named(top), "too_deep", "It is nested too deep: at most 32 levels.")
	case open == '[':
		for i := 0; w.More(); i++ {
			if err := w.value(path+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
				return err
			}
		}
	default:
		if err := w.members(path, depth); err != nil {
			return err
		}
	}
	if _, err := w.Token(); err != nil {
		return notJSON()
	}
	return nil
}

func (w walker) members(path string, depth int) error {
	seen := map[string]bool{}
	for w.More() {
		t, err := w.Token()
		if err != nil {
			return notJSON()
		}
		name, ok := t.(string)
		if !ok {
			return notJSON()
		}
		at := path
		if w.fields != nil && w.fields(name) {
			at = strings.TrimPrefix(path+"."+name, ".")
		}
		// encoding/json takes "PIN" for "pin"; so two that differ in case only
		// are one.
		if folded := strings.ToLower(strings.ToUpper(name)); seen[folded] {
			return malformed(named(at), "duplicate", "A member stands there twice.")
		} else {
			seen[folded] = true
		}
		if err := w.value(at, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// isText reports what every database can keep as text.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func named(path string) string {
	if path == "" {
		return "body"
	}
	return path
}

func notJSON() error { return malformed("body", "not_json", "It is not JSON.") }
