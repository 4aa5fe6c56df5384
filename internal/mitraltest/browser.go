package mitraltest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Keys without a character, for Press and Type.
const (
	Enter    = kb.Enter
	Tab      = kb.Tab
	Escape   = kb.Escape
	Space    = " "
	Up       = kb.ArrowUp
	Down     = kb.ArrowDown
	PageDown = kb.PageDown
)

// browserPatience is how long a page may take to become what a test waits for.
// It is no budget: those are asserted by Journey.
const browserPatience = 20 * time.Second

const (
	axeEnv    = "MITRAL_TEST_AXE"
	noChrome  = "couldn't find chromium: install it (Debian: apt-get install chromium), or put it on PATH"
	noAxe     = "couldn't read axe-core at %s: run ./scripts/test once, or name axe.min.js in " + axeEnv
	axeFolder = ".cache/npm/node_modules/axe-core/axe.min.js"
)

// Browser opens an empty tab of a real Chromium, in a browser context (cookies,
// storage, cache) that only this test has. All tests of a process share the
// browser itself, which ends with the process. Names under .test and
// .localhost lead to this machine; nothing else can be reached.
//
// When the test ends it fails if a page logged an error on the console that
// ExpectConsole didn't allow, or called a host off this machine.
func Browser(tb testing.TB) *Page {
	tb.Helper()
	shared, err := sharedBrowser()
	if err != nil {
		tb.Fatalf("browser: %v", err)
	}
	p := openPage(tb, shared, chromedp.WithNewBrowserContext())
	p.window = &window{}
	p.Front()
	return p
}

var sharedBrowser = sync.OnceValues(func() (context.Context, error) {
	path, err := chromium()
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp("", "mitral-chromium-")
	if err != nil {
		return nil, err
	}
	// Chromium's children may write for a moment after it is gone.
	if err := afterExit(nil, `for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2>/dev/null && break; sleep 1; done`, profile); err != nil {
		return nil, err
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.Env("TMPDIR=" + profile), chromedp.Headless, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.WindowSize(1280, 900),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.*, EXCLUDE [::1]"),
		chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("password-store", "basic"),
		chromedp.Flag("disable-features", "Translate,MediaRouter,OptimizationHints"),
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-dev-shm-usage", "disable-breakpad", "disable-extensions", "disable-default-apps",
		"metrics-recording-only", "use-mock-keychain", "enable-automation", "mute-audio", "hide-scrollbars",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	allocator, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("couldn't start %s: %w", path, err)
	}
	return ctx, nil
})

func chromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New(noChrome)
}

// Page is one tab. Its methods fail the test themselves, and wait up to a
// deadline for what they need; none of them sleeps. A selector is CSS and also
// finds what stands in open shadow roots ("mitral-lock >>> input" means an input
// in those of mitral-lock); of several matches the first visible one is meant. One goroutine uses a Page at a time.
type Page struct {
	tb     testing.TB
	ctx    context.Context
	cancel context.CancelFunc
	window *window

	effort *effort

	mu        sync.Mutex
	requests  []*Request
	byID      map[network.RequestID]*Request
	loaded    int // index in requests of the present document
	status    int
	console   []string
	foreign   []string
	expected  []string
	downloads map[string]*Download
	finished  []*Download
}

// effort is what a person has done so far, in a tab and those it opened.
type effort struct {
	mu    sync.Mutex
	spent Budget
	seen  map[cdp.LoaderID]bool // documents counted as screens
}

func (e *effort) add(b Budget) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spent.Keystrokes += b.Keystrokes
	e.spent.Clicks += b.Clicks
}

// saw counts a document as a screen, once.
func (e *effort) saw(document cdp.LoaderID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.seen[document] {
		e.seen[document] = true
		e.spent.Screens++
	}
}

func (e *effort) sofar() Budget {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.spent
}

// window holds the tabs of one window, of which one is in front.
type window struct {
	front *Page
}

// Request is one request a page made.
type Request struct {
	Method, URL string
	Type        string // "Document", "Stylesheet", "Script", "Fetch"…
	Status      int    // 0 until answered
	Failed      bool   // there will be no more of an answer
	Bytes       int    // of the body, decompressed
}

// Download is one file the browser was given.
type Download struct {
	Name    string
	Content []byte

	path string
}

func openPage(tb testing.TB, parent context.Context, how ...chromedp.ContextOption) *Page {
	tb.Helper()
	p := &Page{tb: tb, byID: map[network.RequestID]*Request{}, downloads: map[string]*Download{}, effort: &effort{seen: map[cdp.LoaderID]bool{}}}
	p.ctx, p.cancel = chromedp.NewContext(parent, append(how, chromedp.WithListener(p.heard))...)
	if err := chromedp.Do(p.ctx); err != nil {
		p.cancel()
		tb.Fatalf("couldn't open a tab: %v", err)
	}
	tb.Cleanup(p.close)
	tab := chromedp.FromContext(p.ctx)
	if err := chromedp.ListenBrowser(p.ctx, p.heard); err != nil {
		tb.Fatal(err)
	}
	must(p, browser.SetDownloadBehavior, true, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllowAndName, BrowserContextID: tab.BrowserContextID,
		DownloadPath: tb.TempDir(), EventsEnabled: new(true),
	})
	return p
}

// NewTab opens a further tab in the same window, so that cookies and storage
// are shared. The new tab is in front, and this one hidden behind it until
// Front brings it back.
func (p *Page) NewTab() *Page {
	p.tb.Helper()
	tab := openPage(p.tb, p.ctx, chromedp.WithNewWindow(false),
		chromedp.WithExistingBrowserContext(chromedp.FromContext(p.ctx).BrowserContextID))
	tab.window = p.window
	tab.Front()
	return tab
}

// Follow does act, by which this page opens a further tab, and returns that tab,
// in front. What a person does there counts on this page's journeys.
func (p *Page) Follow(act func()) *Page {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	here := chromedp.FromContext(p.ctx).Target.TargetID // other tests open tabs, too
	opened := chromedp.WaitNewTarget(ctx, func(i *target.Info) bool { return i.Type == "page" && i.OpenerID == here })
	act()
	var id target.ID
	select {
	case id = <-opened:
	case <-ctx.Done():
	}
	if id == "" {
		p.fatalf("no tab was opened")
	}
	tab := openPage(p.tb, p.ctx, chromedp.WithTargetID(id))
	tab.window, tab.effort = p.window, p.effort
	tree := must(tab, page.GetFrameTree, false, cdp.Empty{}).FrameTree
	if tree.Frame.URL != "about:blank" {
		tab.effort.saw(tree.Frame.LoaderID)
	}
	tab.Front()
	return tab
}

// Front brings a tab to the front of its window. The tab that was there is
// hidden, as its page can tell and as its timers feel.
func (p *Page) Front() {
	p.tb.Helper()
	if behind := p.window.front; behind != nil && behind.ctx.Err() == nil {
		behind.focus(false)
	}
	must(p, page.BringToFront, false, cdp.Empty{})
	p.focus(true)
	p.window.front = p
}

// focus makes the tab act as if its window had the system's focus, so that
// tests side by side don't take it from one another. Without it a tab is as
// visible as it stands in its window.
func (p *Page) focus(on bool) {
	p.tb.Helper()
	must(p, emulation.SetFocusEmulationEnabled, false, emulation.SetFocusEmulationEnabledParams{Enabled: on})
}

// Incognito opens a tab in a browser context of its own, as another person's
// browser would be.
func (p *Page) Incognito() *Page {
	p.tb.Helper()
	return Browser(p.tb)
}

// Close closes the tab, as a person does.
func (p *Page) Close() { p.cancel() }

// Open goes to an address and waits for the page's load event.
func (p *Page) Open(address string) {
	p.tb.Helper()
	if err := p.do(chromedp.Navigate(address)); err != nil {
		p.fatalf("couldn't open %s: %v", address, err)
	}
}

// Reload loads the page again.
func (p *Page) Reload() {
	p.tb.Helper()
	if err := p.do(chromedp.Reload()); err != nil {
		p.fatalf("couldn't reload: %v", err)
	}
}

// Back goes one page back, from the browser's own cache where it has one.
func (p *Page) Back() {
	p.tb.Helper()
	if err := p.do(chromedp.NavigateBack()); err != nil {
		p.fatalf("couldn't go back: %v", err)
	}
}

// URL returns the present address.
func (p *Page) URL() string {
	p.tb.Helper()
	return Eval[string](p, "location.href")
}

// Status returns the HTTP status of the present document.
func (p *Page) Status() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Press types keys one after another into whatever has the focus, and counts
// them. What a person would do by mouse to get there is not its business: a
// page that promises the focus is tested by it.
func (p *Page) Press(keys string) {
	p.tb.Helper()
	for _, key := range keys {
		if err := p.do(chromedp.KeyEvent(string(key))); err != nil {
			p.fatalf("couldn't press a key: %v", err)
		}
		p.effort.add(Budget{Keystrokes: 1})
	}
}

// Type clicks a field, unless it has the focus already, and types into it.
func (p *Page) Type(selector, text string) {
	p.tb.Helper()
	p.WaitVisible(selector)
	if !p.Focused(selector) {
		p.Click(selector)
	}
	p.Press(text)
}

// Paste puts a text into a field from the clipboard, unless the page forbids
// it, and counts as one key.
func (p *Page) Paste(selector, text string) {
	p.tb.Helper()
	p.WaitVisible(selector)
	allowed := p.on(selector, `function(text) {
		this.focus()
		const clipboardData = new DataTransfer()
		clipboardData.setData('text/plain', text)
		return {Found: this.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}))}
	}`, text)
	if !allowed.Found {
		p.fatalf("%s doesn't let a person paste", selector)
	}
	must(p, input.InsertText, false, input.InsertTextParams{Text: text})
	p.effort.add(Budget{Keystrokes: 1})
}

// Click clicks the middle of an element with the mouse. It waits until the
// element is there, visible, enabled and covered by nothing.
func (p *Page) Click(selector string) {
	p.tb.Helper()
	p.clickOn(fmt.Sprintf("%q", selector), func(ctx context.Context, t *chromedp.Target) (cdpruntime.RemoteObjectID, error) {
		return find(ctx, t, selector)
	})
}

// ClickNamed clicks the element with this role and this whole accessible name,
// as a screen reader has them: ClickNamed("button", "Lock").
func (p *Page) ClickNamed(role, name string) {
	p.tb.Helper()
	p.clickOn(fmt.Sprintf("%s %q", role, name), func(ctx context.Context, t *chromedp.Target) (cdpruntime.RemoteObjectID, error) {
		return findNamed(ctx, t, role, name)
	})
}

// Hold presses the mouse on an element and keeps it down until release is
// called.
func (p *Page) Hold(selector string) (release func()) {
	p.tb.Helper()
	at := p.reach(fmt.Sprintf("%q", selector), func(ctx context.Context, t *chromedp.Target) (cdpruntime.RemoteObjectID, error) {
		return find(ctx, t, selector)
	})
	p.mouse(input.DispatchMouseEventTypeMousePressed, at)
	return func() {
		p.tb.Helper()
		p.mouse(input.DispatchMouseEventTypeMouseReleased, at)
	}
}

// Select chooses an option of a select element by its value, as a person's
// choice does it: with input and change events.
func (p *Page) Select(selector, value string) {
	p.tb.Helper()
	p.WaitVisible(selector)
	ok := p.on(selector, `function(value) {
		this.focus(); this.value = value
		this.dispatchEvent(new Event('input', {bubbles: true})); this.dispatchEvent(new Event('change', {bubbles: true}))
		return {text: this.value === value ? 'ok' : ''}
	}`, value)
	if ok.Text != "ok" {
		p.fatalf("%s has no option %q", selector, value)
	}
}

// Text returns the visible text of an element, that of open shadow roots in it
// included. It waits for the element to be there.
func (p *Page) Text(selector string) string {
	p.tb.Helper()
	return p.await(selector, "is there", func(f finding) bool { return f.Found }).Text
}

// Value returns what a field holds.
func (p *Page) Value(selector string) string {
	p.tb.Helper()
	return p.await(selector, "is there", func(f finding) bool { return f.Found }).Value
}

// Visible tells at once whether an element can be seen.
func (p *Page) Visible(selector string) bool {
	p.tb.Helper()
	return p.look(selector).Visible
}

// Focused tells at once whether an element has the keyboard.
func (p *Page) Focused(selector string) bool {
	p.tb.Helper()
	return p.look(selector).Focused
}

// WaitVisible waits until an element can be seen.
func (p *Page) WaitVisible(selector string) {
	p.tb.Helper()
	p.await(selector, "can be seen", func(f finding) bool { return f.Visible })
}

// WaitGone waits until an element can't be seen any more.
func (p *Page) WaitGone(selector string) {
	p.tb.Helper()
	p.await(selector, "can't be seen", func(f finding) bool { return !f.Visible })
}

// WaitFocused waits until an element has the keyboard.
func (p *Page) WaitFocused(selector string) {
	p.tb.Helper()
	p.await(selector, "has the focus", func(f finding) bool { return f.Focused })
}

// WaitText waits until an element's visible text holds part.
func (p *Page) WaitText(selector, part string) {
	p.tb.Helper()
	p.await(selector, fmt.Sprintf("says %q", part), func(f finding) bool { return strings.Contains(f.Text, part) })
}

// WaitURL waits until the address holds part.
func (p *Page) WaitURL(part string) {
	p.tb.Helper()
	p.WaitFor(fmt.Sprintf("location.href.includes(%q)", part))
}

// WaitFor waits until a JavaScript expression is true. It asks anew after a
// navigation.
func (p *Page) WaitFor(expression string) {
	p.tb.Helper()
	p.poll(func() string { return "the page never came to: " + expression }, func(ctx context.Context) (bool, error) {
		return chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")", awaitPromise))
	})
}

// Eval evaluates a JavaScript expression, awaits it if it is a promise, and
// returns its value.
func Eval[T any](p *Page, expression string) T {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, awaitPromise))
	if err != nil {
		p.fatalf("couldn't evaluate %s: %v", expression, err)
	}
	return value
}

// Size sets the size of the page's window in CSS pixels.
func (p *Page) Size(width, height int) {
	p.tb.Helper()
	must(p, emulation.SetDeviceMetricsOverride, false, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(width), Height: int64(height), DeviceScaleFactor: 1,
	})
}

// Dark sets whether the person prefers a dark page.
func (p *Page) Dark(on bool) {
	p.tb.Helper()
	scheme := "light"
	if on {
		scheme = "dark"
	}
	p.Media("", "prefers-color-scheme", scheme)
}

// Media emulates a medium ("print", or "" for the screen) and pairs of a media
// feature and its value ("forced-colors", "active"). It replaces what was set
// before.
func (p *Page) Media(medium string, features ...string) {
	p.tb.Helper()
	params := emulation.SetEmulatedMediaParams{Media: medium}
	for i := 0; i+1 < len(features); i += 2 {
		params.Features = append(params.Features, &emulation.MediaFeature{Name: features[i], Value: features[i+1]})
	}
	must(p, emulation.SetEmulatedMedia, false, params)
}

// Offline cuts this tab off from the network, or connects it again.
func (p *Page) Offline(on bool) {
	p.tb.Helper()
	rules := []*network.Conditions{}
	if on {
		rules = append(rules, &network.Conditions{Offline: true, DownloadThroughput: -1, UploadThroughput: -1})
	}
	must(p, network.EmulateNetworkConditionsByRule, false, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: rules})
	must(p, network.OverrideNetworkState, false, network.OverrideNetworkStateParams{Offline: on, DownloadThroughput: -1, UploadThroughput: -1})
}

// Freeze hides and freezes the page, as a machine that goes to sleep does: its
// timers stand still until Resume, which shows it again.
func (p *Page) Freeze() {
	p.tb.Helper()
	p.focus(false)
	must(p, page.SetWebLifecycleState, false, page.SetWebLifecycleStateParams{State: page.SetWebLifecycleStateStateFrozen})
}

// Resume wakes a frozen page.
func (p *Page) Resume() {
	p.tb.Helper()
	must(p, page.SetWebLifecycleState, false, page.SetWebLifecycleStateParams{State: page.SetWebLifecycleStateStateActive})
	p.focus(true)
}

// FakeClock lets Advance move the clocks of the pages opened from now on.
func (p *Page) FakeClock() {
	p.tb.Helper()
	must(p, page.AddScriptToEvaluateOnNewDocument, false, page.AddScriptToEvaluateOnNewDocumentParams{Source: clockJS})
}

// Advance moves Date.now and performance.now of a page under FakeClock
// forward, as if the time had passed while its timers stood still.
func (p *Page) Advance(by time.Duration) {
	p.tb.Helper()
	Eval[float64](p, fmt.Sprintf("window.__mitralClock += %d", by.Milliseconds()))
}

// Screenshot writes a picture of the whole page, beyond what the window shows,
// as a PNG. It waits for fonts and images.
func (p *Page) Screenshot(file string) {
	p.tb.Helper()
	size := Eval[[]float64](p, `document.fonts.ready.then(() => Promise.all([...document.images].map(i => i.decode().catch(() => {}))))
		.then(() => [document.documentElement.clientWidth, Math.max(document.documentElement.scrollHeight, innerHeight)])`)
	shot := must(p, page.CaptureScreenshot, false, page.CaptureScreenshotParams{
		Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: new(true),
		Clip: &page.Viewport{Width: size[0], Height: size[1], Scale: 1},
	})
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.tb.Fatal(err)
	}
	if err := os.WriteFile(file, shot.Data, 0o644); err != nil {
		p.tb.Fatal(err)
	}
}

// PDF prints the page, A4 with backgrounds off, as a person's printer would.
func (p *Page) PDF() []byte {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	pdf, err := chromedp.Run(ctx, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4), chromedp.PDFPreferCSSPageSize()))
	if err != nil {
		p.fatalf("couldn't print: %v", err)
	}
	return pdf
}

// Download does act and returns the file that the browser is then given.
func (p *Page) Download(act func()) Download {
	p.tb.Helper()
	p.mu.Lock()
	before := len(p.finished)
	p.mu.Unlock()
	act()
	var got *Download
	p.poll(func() string { return "no download ended" }, func(context.Context) (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.finished) > before {
			got = p.finished[before]
		}
		return got != nil, nil
	})
	content, err := os.ReadFile(got.path)
	if err != nil {
		p.fatalf("couldn't read the download: %v", err)
	}
	return Download{Name: got.Name, Content: content}
}

// Cookies returns the cookies that the present page's address would be sent.
func (p *Page) Cookies() []*network.Cookie {
	p.tb.Helper()
	return must(p, network.GetCookies, false, network.GetCookiesParams{}).Cookies
}

// Requests returns the requests made since the present document was asked for,
// that of the document first.
func (p *Page) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Request
	for _, r := range p.requests[p.loaded:] {
		list = append(list, *r)
	}
	return list
}

// Weight returns the bytes of all that the present page loaded, decompressed:
// document, styles, scripts, pictures and what its scripts fetched, but not
// event streams.
func (p *Page) Weight() int {
	sum := 0
	for _, r := range p.Requests() {
		if r.Type != string(network.ResourceTypeEventSource) {
			sum += r.Bytes
		}
	}
	return sum
}

// ConsoleErrors returns the errors logged so far that were not expected.
func (p *Page) ConsoleErrors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
next:
	for _, line := range p.console {
		for _, part := range p.expected {
			if strings.Contains(line, part) {
				continue next
			}
		}
		list = append(list, line)
	}
	return list
}

// ExpectConsole allows console errors that hold one of these parts. Chromium
// itself logs an answer of 400 or more ("status of 423"), so a test of refusals
// names those it means to cause.
func (p *Page) ExpectConsole(parts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, parts...)
}

// Axe runs axe-core over the page, shadow roots included, and fails the test
// for each finding that is serious or critical.
func (p *Page) Axe() {
	p.tb.Helper()
	source, err := axe()
	if err != nil {
		p.tb.Fatal(err)
	}
	if !Eval[bool](p, "!!window.axe") {
		Eval[bool](p, source+"; true")
	}
	findings := Eval[[]struct {
		ID, Impact, Help string
		Nodes            []string
	}](p, axeJS)
	for _, f := range findings {
		p.tb.Errorf("%s: axe finds %s (%s): %s\n  %s", p.URL(), f.ID, f.Impact, f.Help, strings.Join(f.Nodes, "\n  "))
	}
}

var axe = sync.OnceValues(func() (string, error) {
	file := os.Getenv(axeEnv)
	if file == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		file = filepath.Join(root, axeFolder)
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf(noAxe, file)
	}
	return string(source), nil
})

// moduleRoot finds the folder of go.mod above the test's own.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("couldn't find go.mod above the test")
		}
		dir = parent
	}
}

// Budget is what a journey may cost a person: keys pressed, and pages seen, the
// one it starts on included. A zero is not asserted.
type Budget struct {
	Keystrokes, Clicks, Screens int
}

// Journey begins to count what a person does on this page. The function it
// returns ends the journey: it fails the test where the budget is exceeded, and
// prints what the journey took.
func (p *Page) Journey(name string, budget Budget) (end func()) {
	p.tb.Helper()
	before := p.effort.sofar()
	start := time.Now()
	if p.URL() != "about:blank" {
		before.Screens--
	}
	return func() {
		p.tb.Helper()
		took := time.Since(start)
		now := p.effort.sofar()
		spent := Budget{Keystrokes: now.Keystrokes - before.Keystrokes, Clicks: now.Clicks - before.Clicks, Screens: now.Screens - before.Screens}
		p.tb.Logf("journey %s: %d keystrokes, %d clicks, %d screens, %d ms", name, spent.Keystrokes, spent.Clicks, spent.Screens, took.Milliseconds())
		over := func(what string, n, most int) {
			if most > 0 && n > most {
				p.tb.Errorf("journey %s takes %d %s, its budget is %d", name, n, what, most)
			}
		}
		over("keystrokes", spent.Keystrokes, budget.Keystrokes)
		over("clicks", spent.Clicks, budget.Clicks)
		over("screens", spent.Screens, budget.Screens)
	}
}

// finding is what browser.js sees of an element.
type finding struct {
	Found, Visible, Focused, Disabled bool
	Text, Value, Cover                string
	X, Y                              float64
}

//go:embed browser.js
var browserJS string

// clockJS moves a page's clocks by window.__mitralClock milliseconds.
const clockJS = `window.__mitralClock = 0
for (const clock of [Date, performance]) {
	const real = clock.now.bind(clock)
	clock.now = () => real() + window.__mitralClock
}`

const axeJS = `axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
	.then(r => r.violations.filter(v => v.impact === 'serious' || v.impact === 'critical')
	.map(v => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.map(n => n.target.join(' ') + ': ' + n.failureSummary)})))`

type locator func(context.Context, *chromedp.Target) (cdpruntime.RemoteObjectID, error)

// find returns the element that a selector means, or "".
func find(ctx context.Context, t *chromedp.Target, selector string) (cdpruntime.RemoteObjectID, error) {
	return object(ctx, t, fmt.Sprintf("(%s).find(%q)", browserJS, selector))
}

// findNamed asks the accessibility tree.
func findNamed(ctx context.Context, t *chromedp.Target, role, name string) (cdpruntime.RemoteObjectID, error) {
	root, err := object(ctx, t, "document")
	if err != nil {
		return "", err
	}
	tree, err := cdp.Call(ctx, t, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{ObjectID: root, Role: role, AccessibleName: name})
	if err != nil {
		return "", err
	}
	for _, node := range tree.Nodes {
		if node.Ignored {
			continue
		}
		resolved, err := cdp.Call(ctx, t, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: node.BackendDOMNodeID})
		if err != nil {
			return "", err
		}
		return resolved.Object.ObjectID, nil
	}
	return "", nil
}

func object(ctx context.Context, t *chromedp.Target, expression string) (cdpruntime.RemoteObjectID, error) {
	found, err := chromedp.Evaluate[*cdpruntime.RemoteObject](expression)(ctx, t)
	if err != nil {
		return "", err
	}
	return found.ObjectID, nil
}

// look tells what an element is like now. A page on its way to another is
// asked again.
func (p *Page) look(selector string) finding {
	p.tb.Helper()
	return p.on(selector, "function() { return ("+browserJS+").look(this) }")
}

// on runs a function on an element; without one the finding is empty.
func (p *Page) on(selector, function string, args ...any) finding {
	p.tb.Helper()
	var f finding
	p.poll(func() string { return "couldn't look at " + selector }, func(ctx context.Context) (bool, error) {
		var err error
		f, err = chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) (finding, error) {
			element, err := find(ctx, t, selector)
			if err != nil || element == "" {
				return finding{}, err
			}
			return call(ctx, t, element, function, args...)
		})
		return err == nil, err
	})
	return f
}

func call(ctx context.Context, t *chromedp.Target, on cdpruntime.RemoteObjectID, function string, args ...any) (finding, error) {
	return chromedp.CallFunctionOn[finding](function, func(params *cdpruntime.CallFunctionOnParams) { params.ObjectID = on }, args...)(ctx, t)
}

// await polls an element until it is as wanted.
func (p *Page) await(selector, wanted string, ok func(finding) bool) finding {
	p.tb.Helper()
	var f finding
	p.poll(func() string { return fmt.Sprintf("%s never came to where it %s: last %+v", selector, wanted, f) },
		func(context.Context) (bool, error) {
			f = p.look(selector)
			return ok(f), nil
		})
	return f
}

// clickOn waits for an element to be within reach and clicks it.
func (p *Page) clickOn(what string, locate locator) {
	p.tb.Helper()
	at := p.reach(what, locate)
	p.mouse(input.DispatchMouseEventTypeMousePressed, at)
	p.mouse(input.DispatchMouseEventTypeMouseReleased, at)
	p.effort.add(Budget{Clicks: 1})
}

// reach scrolls to an element and waits until a mouse at its middle would hit
// it, then moves the mouse there.
func (p *Page) reach(what string, locate locator) finding {
	p.tb.Helper()
	var f finding
	p.poll(func() string { return fmt.Sprintf("%s can't be clicked: %s", what, f.obstacle()) }, func(ctx context.Context) (bool, error) {
		var err error
		f, err = chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) (finding, error) {
			element, err := locate(ctx, t)
			if err != nil || element == "" {
				return finding{}, err
			}
			return call(ctx, t, element, "function() { return ("+browserJS+").reach(this) }")
		})
		return err == nil && f.obstacle() == "", err
	})
	p.mouse(input.DispatchMouseEventTypeMouseMoved, f)
	return f
}

func (f finding) obstacle() string {
	switch {
	case !f.Found:
		return "it isn't there"
	case !f.Visible:
		return "it can't be seen"
	case f.Disabled:
		return "it is disabled"
	case f.Cover != "":
		return "it is covered by " + f.Cover
	}
	return ""
}

func (p *Page) mouse(what input.DispatchMouseEventType, at finding) {
	p.tb.Helper()
	params := input.DispatchMouseEventParams{Type: what, X: at.X, Y: at.Y}
	if what != input.DispatchMouseEventTypeMouseMoved {
		params.Button, params.ClickCount = input.MouseButtonLeft, 1
	}
	must(p, input.DispatchMouseEvent, false, params)
}

// poll asks until done, or fails the test at the deadline. An error counts as
// "not yet": a navigation takes the page away under a question.
func (p *Page) poll(failure func() string, ask func(context.Context) (bool, error)) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := ask(ctx)
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				p.fatalf("%s (%v)", failure(), err)
			}
			p.fatalf("%s", failure())
		}
	}
}

func (p *Page) do(action chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	return chromedp.Do(ctx, action)
}

// must runs a protocol command of the tab, or of the browser.
func must[P, R any](p *Page, command cdp.Command[P, R], ofBrowser bool, params P) R {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	send := chromedp.Call[P, R]
	if ofBrowser {
		send = chromedp.CallBrowser[P, R]
	}
	result, err := send(ctx, command, params)
	if err != nil {
		p.fatalf("browser: %s: %v", command.Method, err)
	}
	return result
}

func awaitPromise(params *cdpruntime.EvaluateParams) { params.AwaitPromise = new(true) }

// heard keeps account of what the browser tells. It runs in the tab's own loop
// and sends nothing.
func (p *Page) heard(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		r := &Request{Method: e.Request.Method, URL: e.Request.URL, Type: string(e.Type)}
		if e.Type == network.ResourceTypeDocument && string(e.RequestID) == string(e.LoaderID) && e.RedirectResponse == nil {
			p.loaded = len(p.requests)
		}
		p.requests = append(p.requests, r)
		p.byID[e.RequestID] = r
		if !local(r.URL) {
			p.foreign = append(p.foreign, r.URL)
		}
	case *network.EventResponseReceived:
		if r := p.byID[e.RequestID]; r != nil {
			r.Status = int(e.Response.Status)
			if e.Type == network.ResourceTypeDocument {
				p.status = r.Status
			}
		}
	case *network.EventDataReceived:
		if r := p.byID[e.RequestID]; r != nil {
			r.Bytes += int(e.DataLength)
		}
	case *network.EventLoadingFailed:
		if r := p.byID[e.RequestID]; r != nil {
			r.Failed = true
		}
	case *page.EventFrameNavigated:
		if e.Frame.ParentID == "" && e.Frame.URL != "about:blank" {
			p.effort.saw(e.Frame.LoaderID)
		}
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type == cdpruntime.ConsoleAPICalledTypeError || e.Type == cdpruntime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, arg := range e.Args {
				if arg.Description != "" {
					words = append(words, arg.Description)
				} else {
					words = append(words, strings.Trim(string(arg.Value), `"`))
				}
			}
			p.console = append(p.console, "console."+string(e.Type)+": "+strings.Join(words, " "))
		}
	case *cdpruntime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil && thrown.Description != "" {
			text += " " + thrown.Description
		}
		p.console = append(p.console, "exception: "+text)
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError {
			p.console = append(p.console, string(e.Entry.Source)+": "+e.Entry.Text+" "+e.Entry.URL)
		}
	case *browser.EventDownloadWillBegin:
		p.downloads[e.GUID] = &Download{Name: e.SuggestedFilename}
	case *browser.EventDownloadProgress:
		if d := p.downloads[e.GUID]; d != nil && e.State == browser.DownloadProgressStateCompleted {
			d.path = e.FilePath
			p.finished = append(p.finished, d)
		}
	}
}

// local tells whether an address leads to this machine.
func local(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "data", "blob", "about", "chrome":
		return true
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".test")
}

// close ends the tab with the test, and with what the pages did wrong.
func (p *Page) close() {
	for _, line := range p.ConsoleErrors() {
		p.tb.Errorf("the page logged an error: %s", line)
	}
	p.mu.Lock()
	for _, address := range p.foreign {
		p.tb.Errorf("the page called another host: %s", address)
	}
	p.mu.Unlock()
	p.cancel()
}

// fatalf fails the test and shows where the page stood.
func (p *Page) fatalf(format string, args ...any) {
	p.tb.Helper()
	message := fmt.Sprintf(format, args...)
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
	defer cancel()
	if stand, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + '\n' + document.body.innerText.slice(0, 1500)`)); err == nil {
		message += "\nThe page stands at " + stand
	}
	p.tb.Fatal(message)
}
