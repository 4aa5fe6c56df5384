package mitraltest_test

import (
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// site serves pages by path; "/slow" is asked for by none of them.
func site(t *testing.T, pages map[string]string) string {
	t.Helper()
	mux := http.NewServeMux()
	for path, body := range pages {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			kind := "text/html"
			switch {
			case strings.HasSuffix(path, ".js"):
				kind = "text/javascript"
			case strings.HasSuffix(path, ".csv"):
				kind = "text/csv"
				w.Header().Set("Content-Disposition", `attachment; filename="list.csv"`)
			default:
				body = `<!doctype html><html lang="en"><head><title>Page</title><link rel="icon" href="data:,"></head><body>` + body + `</body></html>`
			}
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, body)
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestBrowserTypesAndCounts(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{
		"/": `<form action="/next"><label>PIN <input id="pin" name="pin" autofocus></label><button>Go</button></form>
			<script>pin.oninput = () => { if (pin.value.length == 4) location = '/next?pin=' + pin.value }</script>`,
		"/next": `<h1>Done</h1>`,
	})
	p := mitraltest.Browser(t)
	p.Open(base)
	end := p.Journey("type a PIN", mitraltest.Budget{Keystrokes: 4, Screens: 2})
	p.WaitFocused("#pin")
	p.Press("4711")
	p.WaitText("h1", "Done")
	end()
	if !strings.HasSuffix(p.URL(), "/next?pin=4711") || p.Status() != http.StatusOK {
		t.Errorf("at %s with status %d", p.URL(), p.Status())
	}

	over := &recorder{TB: t}
	q := mitraltest.Browser(over)
	q.Open(base)
	end = q.Journey("type too much", mitraltest.Budget{Keystrokes: 3, Screens: 1})
	q.Type("#pin", "4711")
	q.WaitText("h1", "Done")
	end()
	over.wants(t, "4 keystrokes, its budget is 3", "2 screens, its budget is 1")
}

func TestBrowserPastes(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{
		"/": `<input id="free"><input id="closed" onpaste="return false"><p id="said"></p><script>free.oninput = () => { said.textContent = 'now ' + free.value }</script>`,
	})
	p := mitraltest.Browser(t)
	p.Open(base)
	p.Paste("#free", "4711")
	p.WaitText("#said", "now 4711")

	seen := &recorder{TB: t}
	q := mitraltest.Browser(seen)
	q.Open(base)
	done := make(chan struct{})
	go func() { // Fatal ends the goroutine
		defer close(done)
		q.Paste("#closed", "4711")
	}()
	<-done
	seen.wants(t, "doesn't let a person paste")
}

func TestBrowserClicksOnlyWhatAMouseCanReach(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{"/": `<mitral-door></mitral-door>
		<div id="curtain" style="position:fixed;inset:0;background:#fff">Locked</div><p id="said"></p>
		<script type="module">
			customElements.define('mitral-door', class extends HTMLElement {
				connectedCallback() {
					this.attachShadow({mode: 'open'}).innerHTML = '<button aria-label="Lock">x</button>'
					this.shadowRoot.querySelector('button').onclick = e => { said.textContent = 'clicked ' + e.isTrusted }
				}
			})
			setTimeout(() => curtain.remove(), 300)
		</script>`})
	p := mitraltest.Browser(t)
	p.Open(base)
	p.ClickNamed("button", "Lock") // waits for the curtain to go
	p.WaitText("#said", "clicked true")
	if p.Visible("#curtain") {
		t.Error("the click went through the curtain")
	}
	p.Click("mitral-door >>> button")
	if got := p.Text("mitral-door"); !strings.Contains(got, "x") {
		t.Errorf("the text of a shadow root is missing: %q", got)
	}
}

func TestBrowserTellsErrorsAndOtherHosts(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{"/": `<script>console.error('broken', {a: 1}); fetch('/gone').then(() => fetch('http://elsewhere.example/x')).catch(() => document.title = 'failed')</script>`})
	seen := &recorder{TB: t}
	p := mitraltest.Browser(seen)
	p.ExpectConsole("status of 404")
	p.Open(base)
	p.WaitFor("document.title === 'failed'")
	seen.finish()
	seen.wants(t, "console.error: broken", "called another host: http://elsewhere.example/x")
	if strings.Contains(strings.Join(seen.said, "\n"), "404") {
		t.Errorf("an expected error was told: %q", seen.said)
	}
}

func TestBrowserContextsAreApart(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{"/": `<h1>Here</h1>`})
	p := mitraltest.Browser(t)
	p.Open(base)
	mitraltest.Eval[string](p, "document.cookie = 'who=me; path=/'")
	second, other := p.NewTab(), p.Incognito()
	p.WaitFor("document.visibilityState === 'hidden'")
	p.Front()
	p.WaitFor("document.visibilityState === 'visible'")
	second.Open(base)
	other.Open(base)
	if got := second.Cookies(); len(got) != 1 || got[0].Value != "me" {
		t.Errorf("a second tab has the cookies %v", got)
	}
	if got := other.Cookies(); len(got) != 0 {
		t.Errorf("another context has the cookies %v", got)
	}
}

func TestBrowserFollowsALink(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{"/": `<a href="/next" target="_blank">Next</a>`, "/next": `<h1>Done</h1><input id="a" autofocus>`})
	p := mitraltest.Browser(t)
	p.Open(base)
	counted := p.Journey("into another tab", mitraltest.Budget{Keystrokes: 2, Clicks: 1, Screens: 2})
	next := p.Follow(func() { p.ClickNamed("link", "Next") })
	next.WaitText("h1", "Done")
	next.WaitFocused("#a")
	next.Press("ab")
	counted()
	p.WaitFor("document.visibilityState === 'hidden'")
	if got := next.Value("#a"); got != "ab" || next.URL() != base+"/next" {
		t.Errorf("the tab is at %s with %q", next.URL(), got)
	}
	next.Close()
	p.Front()
	p.WaitFor("document.visibilityState === 'visible'")
}

func TestBrowserWeighsAPage(t *testing.T) {
	t.Parallel()
	script := "document.title = 'ran' //" + strings.Repeat("x", 20_000)
	base := site(t, map[string]string{"/": `<script src="/a.js"></script><p>text</p>`, "/a.js": script, "/light": `<p>text</p>`})
	p := mitraltest.Browser(t)
	for range 2 { // the second time from the browser's cache
		p.Open(base)
		p.WaitFor("document.title === 'ran'")
		if w := p.Weight(); w < len(script) || w > len(script)+500 {
			t.Errorf("the page weighs %d, want a little over %d: %+v", w, len(script), p.Requests())
		}
	}
	p.Open(base + "/light")
	if w := p.Weight(); w == 0 || w > 500 {
		t.Errorf("the light page weighs %d", w)
	}
}

func TestBrowserFreezesAndMovesClocks(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{"/": `<script>
		window.events = []; window.ticks = 0
		setInterval(() => ticks++, 20)
		for (const e of ['freeze', 'resume', 'visibilitychange']) {
			document.addEventListener(e, () => events.push(e === 'visibilitychange' ? document.visibilityState : e))
		}
	</script>`})
	p := mitraltest.Browser(t)
	p.FakeClock()
	p.Open(base)
	p.WaitFor("ticks > 2")
	p.Freeze()
	p.WaitFor("events.at(-1) === 'freeze'")
	frozen := mitraltest.Eval[int](p, "ticks")
	p.Resume()
	p.WaitFor(fmt.Sprintf("ticks > %d", frozen+2))
	if got := mitraltest.Eval[string](p, "events.join()"); got != "hidden,freeze,resume,visible" {
		t.Errorf("the page lived through %s", got)
	}
	before := mitraltest.Eval[float64](p, "performance.now()")
	p.Advance(2 * time.Hour)
	if moved := mitraltest.Eval[float64](p, "performance.now()") - before; moved < 7_200_000 || moved > 7_220_000 {
		t.Errorf("two hours moved performance.now by %v ms", moved)
	}
}

func TestBrowserLooks(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{"/": `<div style="height:2000px">tall</div>`})
	p := mitraltest.Browser(t)
	p.Size(320, 640)
	p.Dark(true)
	p.Open(base)
	got := mitraltest.Eval[string](p, "innerWidth + ' ' + matchMedia('(prefers-color-scheme: dark)').matches")
	if got != "320 true" {
		t.Errorf("the page sees %s, want 320 true", got)
	}
	file := filepath.Join(t.TempDir(), "pictures", "tall.png")
	p.Screenshot(file)
	if width, height := pngSize(t, file); width != 320 || height < 2000 {
		t.Errorf("the picture is %d × %d, want 320 × 2000 or more", width, height)
	}
	if pdf := p.PDF(); !strings.HasPrefix(string(pdf), "%PDF-") {
		t.Error("the print is no PDF")
	}
	p.Offline(true)
	p.ExpectConsole("ERR_INTERNET_DISCONNECTED")
	if online := mitraltest.Eval[string](p, "fetch('/', {cache: 'no-store'}).then(() => 'reached', () => 'cut off') "); online != "cut off" {
		t.Errorf("offline, a fetch %s", online)
	}
	p.Offline(false)
	if online := mitraltest.Eval[string](p, "fetch('/', {cache: 'no-store'}).then(() => 'reached', () => 'cut off') "); online != "reached" {
		t.Errorf("online again, a fetch is %s", online)
	}
}

func TestBrowserDownloads(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{"/": `<a href="/list.csv">Export</a>`, "/list.csv": "a,b\n1,2\n"})
	p := mitraltest.Browser(t)
	p.Open(base)
	file := p.Download(func() { p.ClickNamed("link", "Export") })
	if file.Name != "list.csv" || string(file.Content) != "a,b\n1,2\n" {
		t.Errorf("got %s with %q", file.Name, file.Content)
	}
}

func TestAxeFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	base := site(t, map[string]string{
		"/good": `<main><h1>Sign in</h1><label>Name <input></label></main>`,
		"/bad":  `<main><h1>Sign in</h1><input></main>`,
	})
	p := mitraltest.Browser(t)
	p.Open(base + "/good")
	p.Axe()

	seen := &recorder{TB: t}
	q := mitraltest.Browser(seen)
	q.Open(base + "/bad")
	q.Axe()
	seen.wants(t, "axe finds label (critical)")
}

func pngSize(t *testing.T, file string) (width, height int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	picture, err := png.DecodeConfig(f)
	if err != nil {
		t.Fatal(err)
	}
	return picture.Width, picture.Height
}

// recorder is a test whose failures are kept and not told.
type recorder struct {
	testing.TB
	said     []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Fatal(args ...any) {
	r.said = append(r.said, fmt.Sprint(args...))
	runtime.Goexit()
}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// finish ends the recorded test.
func (r *recorder) finish() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	r.cleanups = nil
}

func (r *recorder) wants(t *testing.T, parts ...string) {
	t.Helper()
	r.finish()
	all := strings.Join(r.said, "\n")
	for _, part := range parts {
		if !strings.Contains(all, part) {
			t.Errorf("no failure says %q; got:\n%s", part, all)
		}
	}
}
