package chart

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says where this application finds Mitral and where browsers find it.
type Config struct {
	MitralURL string       // base URL the server side calls, "http://127.0.0.1:8080"
	PublicURL string       // origin browsers use, "http://localhost:8080"; Mitral's pages are on it too
	BasePath  string       // where the handler is mounted; "/demo/chart" when empty
	Client    *http.Client // for calls to Mitral; nil means one with a 5 s timeout
}

// Allow answers the allow list of each role, and of break_glass.role, that a
// clinic's policy needs for this application. The caller owns the result.
func Allow() map[string][]string {
	clinical := func() []string { return []string{"chart_read", "chart_write", "export", "delete"} }
	return map[string][]string{
		"nurse":               clinical(),
		"doctor":              clinical(),
		"staff":               {},
		"admin":               {},
		"privacy_reviewer":    {},
		"emergency_clinician": {"chart_read", "chart_write", "read_restricted"},
	}
}

// New returns the application, serving BasePath and everything below it. It
// expects requests with their whole path, and /sdk/mitral-lock.js, /signin,
// /emergency and /api/v1/ of the same origin to be Mitral's.
func New(cfg Config) http.Handler {
	if cfg.BasePath == "" {
		cfg.BasePath = "/demo/chart"
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 5 * time.Second}
	}
	base := strings.TrimSuffix(cfg.BasePath, "/")
	public := strings.TrimSuffix(cfg.PublicURL, "/")
	c := &chart{base: base, public: public, mitral: newMitral(cfg), records: newRecords()}

	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base, c.open)
	mux.HandleFunc("GET "+base+"/{$}", c.open)
	mux.HandleFunc("GET "+base+"/patients/{id}", c.open)
	mux.HandleFunc("POST "+base+"/patients/{id}/note", c.save)
	mux.HandleFunc("POST "+base+"/patients/{id}/delete", c.delete)
	mux.HandleFunc("POST "+base+"/export", c.export)
	mux.HandleFunc("POST "+base+"/lock", c.lock)
	mux.HandleFunc("POST "+base+"/end", c.end)
	mux.HandleFunc("GET "+base+"/static/{file}", static)

	same := http.NewCrossOriginProtection()
	if u, err := url.Parse(public); err == nil && u.Host != "" {
		_ = same.AddTrustedOrigin(u.Scheme + "://" + u.Host) // fails on an opaque origin only, which then stays untrusted
	}
	return headers(same.Handler(mux))
}

const maxBody = 64 << 10 // a note of 4,000 characters as a form, in any script

type chart struct {
	base, public string
	mitral       mitral
	records      *records
}

//go:embed static
var files embed.FS

//go:embed pages
var pageFiles embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{"clock": clock}).ParseFS(pageFiles, "pages/*.html"))

// view is what every page shows.
type view struct {
	Base     string
	Session  *session
	Grant    *grant
	Patients []patient
	Patient  *patient // the record that is open
	Closed   string   // why none is, in a sentence
	Glass    bool     // emergency access would open it
	Title    string
	Message  string
	Text     string // text that could not be saved, handed back
	Action   string // where its form goes
}

// open shows the list and one record, the first when none is named.
func (c *chart) open(w http.ResponseWriter, r *http.Request) {
	s, ok := c.enter(w, r)
	if !ok {
		return
	}
	v := view{Base: c.base, Session: s, Grant: s.Mitral.BreakGlass, Title: "Charts"}
	d, err := c.mitral.check(w, r, "chart_read", "", "")
	if err != nil || d.Kind != permit {
		v.Title = "Closed"
		v.Closed, v.Glass = c.closed(s, d)
		c.refuse(w, r, v, d, err)
		return
	}
	v.Patients = c.records.list()
	id := r.PathValue("id")
	if id == "" {
		id = v.Patients[0].ID
	}
	p, found := c.records.get(id)
	if !found {
		v.Title, v.Closed = "No such patient", "There is no patient with this number. Choose one from the list."
		c.render(w, http.StatusNotFound, "chart.html", v)
		return
	}
	v.Title = p.Name
	if p.Restricted {
		if d, err = c.mitral.check(w, r, "read_restricted", "", ""); err != nil || d.Kind != permit {
			v.Title = "Sealed record"
			v.Closed, v.Glass = "This record is sealed. Your role does not open it.", d.Kind == breakGlass
			c.refuse(w, r, v, d, err)
			return
		}
	}
	v.Patient = &p
	c.render(w, http.StatusOK, "chart.html", v)
}

func (c *chart) closed(s *session, d decision) (string, bool) {
	if s.is("admin") {
		return "Charts are not for administrators.", d.Kind == breakGlass
	}
	return "Your role does not open charts.", d.Kind == breakGlass
}

// save keeps what was written. Text that can't be saved is handed back, never dropped.
func (c *chart) save(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		status, message := http.StatusBadRequest, "The note did not arrive whole. Save again."
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			status, message = http.StatusRequestEntityTooLarge, "The note is too long. Shorten it and save again."
		}
		c.say(w, r, status, message, "")
		return
	}
	text := strings.ReplaceAll(r.PostForm.Get("note"), "\r\n", "\n")
	if len([]rune(text)) > maxNote {
		c.say(w, r, http.StatusUnprocessableEntity, fmt.Sprintf("The note is longer than %d characters. Shorten it and save again.", maxNote), text)
		return
	}
	s, ok := c.act(w, r, id, "chart_write", "", "", text)
	if !ok {
		return
	}
	p, _ := c.records.write(id, text, s.User.Name, time.Now())
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, map[string]string{"message": "Saved " + p.Saved() + "."})
		return
	}
	http.Redirect(w, r, c.base+"/patients/"+p.ID, http.StatusSeeOther)
}

// delete removes the note that was confirmed, and no other: tx_hash is over its text.
func (c *chart) delete(w http.ResponseWriter, r *http.Request) {
	if _, ok := c.enter(w, r); !ok {
		return
	}
	id := r.PathValue("id")
	p, found := c.records.get(id)
	if !found || p.Note == "" {
		c.say(w, r, http.StatusNotFound, "There is no saved note to delete.", "")
		return
	}
	if _, ok := c.act(w, r, id, "delete", "The note of "+p.Name+" ("+p.ID+").", p.hash(), ""); !ok {
		return
	}
	if !c.records.clear(id, p.hash()) {
		c.say(w, r, http.StatusConflict, "The note changed meanwhile and was kept. Look at it, then try again.", "")
		return
	}
	c.say(w, r, http.StatusOK, "The note was deleted.", "")
}

// export answers the list as a file. tx_hash is over the very bytes that leave.
func (c *chart) export(w http.ResponseWriter, r *http.Request) {
	csv, n := c.records.csv()
	if _, ok := c.act(w, r, "", "export", fmt.Sprintf("%d patients with their notes, as a CSV file.", n), hash(csv), ""); !ok {
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": "demo-chart.csv"}))
	_, _ = w.Write(csv)
}

// lock is for a browser without JavaScript; with it the SDK locks.
func (c *chart) lock(w http.ResponseWriter, r *http.Request) {
	_, _ = c.mitral.call(w, r, http.MethodPost, "/api/v1/session/lock", struct{}{}, nil)
	http.Redirect(w, r, c.base, http.StatusSeeOther)
}

// end closes the grant that the session is in.
func (c *chart) end(w http.ResponseWriter, r *http.Request) {
	s, ok := c.enter(w, r)
	if !ok {
		return
	}
	if s.Mitral.BreakGlass == nil {
		c.say(w, r, http.StatusConflict, "No emergency access is open.", "")
		return
	}
	path := "/api/v1/break-glass/" + url.PathEscape(s.Mitral.BreakGlass.ID) + "/end"
	res, err := c.mitral.call(w, r, http.MethodPost, path, struct{}{}, nil)
	if err != nil || res.Status >= 400 && res.Status != http.StatusConflict {
		c.say(w, r, http.StatusBadGateway, "Emergency access has not ended. Try again.", "")
		return
	}
	c.say(w, r, http.StatusOK, "Emergency access has ended. Sign in again to go on.", "")
}

// enter answers who is there, or has answered the request: a page load goes to
// Mitral to sign in or unlock and comes back here, anything else is told why not.
func (c *chart) enter(w http.ResponseWriter, r *http.Request) (*session, bool) {
	s, err := c.mitral.session(w, r)
	switch {
	case err != nil:
		c.unsure(w, r, "")
	case s == nil:
		c.away(w, r, "/signin", http.StatusUnauthorized, "You are signed out. Your text is still on this screen.", "")
	case s.Mitral.State != "active":
		c.away(w, r, "/api/v1/session/resume", http.StatusLocked, "The screen is locked. Your text is still here.", "")
	default:
		return s, true
	}
	return nil, false
}

// act asks whether this may be done, and answers the request when it may not.
// summary and tx are what the person confirms; text is what must not be lost.
func (c *chart) act(w http.ResponseWriter, r *http.Request, id, action, summary, tx, text string) (*session, bool) {
	s, err := c.mitral.session(w, r)
	if err != nil {
		c.unsure(w, r, text)
		return nil, false
	}
	if s == nil {
		c.away(w, r, "/signin", http.StatusUnauthorized, "You are signed out. Your text is not lost: sign in, then save again.", text)
		return nil, false
	}
	actions := []string{action}
	if id != "" {
		p, found := c.records.get(id)
		if !found {
			c.say(w, r, http.StatusNotFound, "There is no patient with this number.", text)
			return nil, false
		}
		if p.Restricted {
			actions = []string{"read_restricted", action}
		}
	}
	for _, a := range actions {
		token := ""
		if a == action {
			token = r.Header.Get("Mitral-Step-Up")
		}
		d, err := c.mitral.check(w, r, a, token, tx)
		if err != nil {
			c.unsure(w, r, text)
			return nil, false
		}
		switch d.Kind {
		case permit:
		case reauthenticate:
			w.Header().Set("WWW-Authenticate", d.Challenge)
			if !wantsJSON(r) {
				c.say(w, r, http.StatusUnauthorized, "This needs your PIN once more. Allow JavaScript on this page, then try again.", text)
				return nil, false
			}
			writeJSON(w, http.StatusUnauthorized, map[string]string{
				"code": "insufficient_user_authentication", "action": a, "tx_hash": tx, "summary": summary,
				"message": "Not confirmed. Try again.",
			})
			return nil, false
		case signedOut:
			c.away(w, r, "/signin", http.StatusUnauthorized, "You are signed out. Your text is not lost: sign in, then save again.", text)
			return nil, false
		case locked:
			c.away(w, r, "/api/v1/session/resume", http.StatusLocked, "The screen is locked. Your text is not lost: unlock, then save again.", text)
			return nil, false
		default:
			c.say(w, r, http.StatusForbidden, refusal(action, d), text)
			return nil, false
		}
	}
	return s, true
}

// refusal says in a sentence why an act is not done.
func refusal(action string, d decision) string {
	verb := map[string]string{"export": "Exporting", "delete": "Deleting", "chart_write": "Writing"}[action]
	switch {
	case d.Code == "bg_forbidden_action":
		return verb + " is not possible during emergency access. End it and sign in as usual."
	case d.Kind == breakGlass:
		return verb + " is not part of your role. In an emergency, use Emergency access."
	}
	return verb + " is not part of your role. Ask an administrator."
}

// refuse shows a page without its record.
func (c *chart) refuse(w http.ResponseWriter, r *http.Request, v view, d decision, err error) {
	switch {
	case err != nil:
		c.unsure(w, r, "")
	case d.Kind == signedOut:
		c.away(w, r, "/signin", http.StatusUnauthorized, "You are signed out.", "")
	case d.Kind == locked:
		c.away(w, r, "/api/v1/session/resume", http.StatusLocked, "The screen is locked.", "")
	default:
		c.render(w, http.StatusForbidden, "chart.html", v)
	}
}

// away sends a page load to Mitral and back here; anything else stays where it is.
func (c *chart) away(w http.ResponseWriter, r *http.Request, path string, status int, message, text string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || wantsJSON(r) {
		c.say(w, r, status, message, text)
		return
	}
	back := c.public + r.URL.RequestURI()
	http.Redirect(w, r, path+"?callbackUrl="+url.QueryEscape(back), http.StatusSeeOther)
}

func (c *chart) unsure(w http.ResponseWriter, r *http.Request, text string) {
	w.Header().Set("Retry-After", "5")
	c.say(w, r, http.StatusServiceUnavailable, "We can't check right now who is signed in. Nothing is lost. Try again in a few seconds.", text)
}

// say answers a sentence: JSON to the page's script, else a page with the text that was sent.
func (c *chart) say(w http.ResponseWriter, r *http.Request, status int, message, text string) {
	if wantsJSON(r) {
		writeJSON(w, status, map[string]string{"message": message})
		return
	}
	c.render(w, status, "message.html", view{Base: c.base, Title: "Demo chart", Message: message, Text: text, Action: r.URL.Path})
}

func (c *chart) render(w http.ResponseWriter, status int, name string, v view) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, v); err != nil {
		http.Error(w, "The page could not be made. Try again.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func static(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, files, "static/"+r.PathValue("file"))
}

func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// clock writes seconds as mm:ss.
func clock(seconds int) string {
	return fmt.Sprintf("%02d:%02d", max(seconds, 0)/60, max(seconds, 0)%60)
}
