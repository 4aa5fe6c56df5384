package e2e

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// maxWeight is what no page may weigh (issue A, product §6).
const maxWeight = 60_000

// gallery goes from page to page. It holds each against what every page must
// keep: nothing serious for axe, less than 60 kB, nothing wider than the window
// at 320 px; that no page logs an error or calls another host the browser itself
// sees to. With a folder it takes the pictures besides.
type gallery struct {
	t      *testing.T
	folder string
	seen   []string
}

// shoot holds a page against the rules, and takes its pictures.
func (g *gallery) shoot(b *mitraltest.Page, name string) {
	g.t.Helper()
	if slices.Contains(g.seen, name) {
		g.t.Fatalf("%s is there twice", name)
	}
	g.seen = append(g.seen, name)
	b.WaitFor("document.readyState === 'complete'")
	if weight := b.Weight(); weight > maxWeight {
		g.t.Errorf("%s weighs %d bytes, of %d", name, weight, maxWeight)
	}
	b.Size(320, 640)
	if wide := mitraltest.Eval[int](b, "document.documentElement.scrollWidth"); wide > 320 {
		g.t.Errorf("%s is %d px wide in a window of 320", name, wide)
	}
	for _, dark := range []bool{true, false} {
		b.Dark(dark)
		b.WaitFor(`document.getAnimations().every(a => a.playState === 'finished' || a.effect.getComputedTiming().endTime === Infinity)`)
		if g.folder == "" {
			if !dark {
				b.Axe()
			}
			continue
		}
		for _, width := range []int{320, 1280} {
			b.Size(width, map[int]int{320: 640, 1280: 800}[width])
			b.Axe()
			b.Size(width, mitraltest.Eval[int](b, "Math.max(innerHeight, document.documentElement.scrollHeight)")) // so that a curtain covers all of it
			scheme := map[bool]string{true: "dark", false: "light"}[dark]
			g.picture(b, fmt.Sprintf("%s-%d-%s", name, width, scheme))
		}
	}
	b.Size(1280, 800)
}

// TestScreenshots visits every page of a demo and of a first setup, and takes
// pictures of them where MITRAL_TEST_SCREENSHOTS names a folder.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	g := &gallery{t: t, folder: os.Getenv("MITRAL_TEST_SCREENSHOTS")}
	t.Run("setup", func(t *testing.T) { g.t = t; g.setup() })
	t.Run("demo", func(t *testing.T) { g.t = t; g.demo() })
	g.t = t
	if len(g.seen) < 45 {
		t.Errorf("only %d pages were seen: %v", len(g.seen), g.seen)
	}
}

// setup is the first run, on an address that has no name.
func (g *gallery) setup() {
	p := newPlace(g.t, database{name: "sqlite"})
	p.env["MITRAL_LISTEN"] = freeAddress(g.t)
	p.env["MITRAL_PUBLIC_URL"] = "http://" + p.env["MITRAL_LISTEN"]
	n := p.serve()
	b := mitraltest.Browser(g.t)
	b.Size(1280, 800)
	b.ExpectConsole("status of 4")
	b.Open(setupAddress.FindString(n.stdout.find(g.t, "/setup?token=")))
	g.shoot(b, "setup-clinic")
	b.Type("#name", "Hope Clinic")
	b.ClickNamed("button", "Next")
	b.WaitText("h1", "You, the first administrator")
	b.Type("#name", "Grace Okafor")
	b.Type("#email", "grace@hope.example")
	b.Type("#phone", "12")
	b.Type("#pin", "1234")
	b.ClickNamed("button", "Next: your key")
	b.WaitVisible(".wrong")
	g.shoot(b, "setup-you")
	mitraltest.Eval[string](b, `document.getElementById('phone').value = ''`)
	b.Type("#phone", adminPhone)
	b.Type("#pin", "8264")
	b.ClickNamed("button", "Next: your key")
	b.WaitText("h1", "Print your safety sheet")
	b.Click("summary")
	g.shoot(b, "setup-sheet")
	g.print(b, "setup-sheet-print")
	b.Click("label:has([name=kept])")
	b.ClickNamed("button", "Next: who else?")
	b.WaitText("h1", "Who else?")
	g.shoot(b, "setup-people")
	b.Type("#name", "A Reviewer")
	b.Type("#email", "reviewer@board.example")
	b.Select("#role", "privacy_reviewer")
	b.ClickNamed("button", "Add and finish")
	b.WaitText("h1", "Hope Clinic is ready")
	g.shoot(b, "setup-done")
}

// picture takes one, and keeps it with 256 colours: a third of the bytes.
func (g *gallery) picture(b *mitraltest.Page, name string) {
	g.t.Helper()
	file := filepath.Join(g.folder, name+".png")
	b.Screenshot(file)
	f, err := os.Open(file)
	if err != nil {
		g.t.Fatal(err)
	}
	full, err := png.Decode(f)
	if err := errors.Join(err, f.Close()); err != nil {
		g.t.Fatal(err)
	}
	if f, err = os.Create(file); err != nil {
		g.t.Fatal(err)
	}
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := errors.Join(encoder.Encode(f, paletted(full)), f.Close()); err != nil {
		g.t.Fatal(err)
	}
}

// paletted chooses the commonest colours, but none that is hardly another than
// one before, so that a rare accent is kept as well.
func paletted(full image.Image) *image.Paletted {
	bounds, count := full.Bounds(), map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	const tellApart = 48 // the square of a distance in RGB
	var colours color.Palette
	for _, c := range slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return count[b] - count[a] }) {
		if len(colours) > 0 {
			near := colours.Convert(c).(color.RGBA)
			r, g, b := int(near.R)-int(c.R), int(near.G)-int(c.G), int(near.B)-int(c.B)
			if r*r+g*g+b*b <= tellApart {
				continue
			}
		}
		if colours = append(colours, c); len(colours) == 256 {
			break
		}
	}
	small, index := image.NewPaletted(bounds, colours), map[color.RGBA]uint8{}
	for c := range count {
		index[c] = uint8(colours.Index(c))
	}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			small.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	return small
}

// print takes a picture of a page as it is printed.
func (g *gallery) print(b *mitraltest.Page, name string) {
	g.seen = append(g.seen, name)
	if g.folder == "" {
		return
	}
	b.Media("print")
	b.Size(794, 1123) // A4
	g.picture(b, name)
	b.Media("")
	b.Size(1280, 800)
}

func (g *gallery) demo() {
	p := newPlace(g.t, database{name: "sqlite"})
	n := p.serve("--demo")
	people := map[string]person{}
	for _, who := range n.demoPeople() {
		people[who.role] = who
	}
	demo, err := os.ReadFile(filepath.Join(p.data, "demo.txt"))
	if err != nil {
		g.t.Fatal(err)
	}
	sealed := regexp.MustCompile(`(?m)^sealed-code \S+ (\S+)$`).FindAllStringSubmatch(string(demo), -1)
	if len(sealed) < 2 {
		g.t.Fatalf("demo.txt names no sealed codes: %s", demo)
	}
	b := mitraltest.Browser(g.t)
	b.Size(1280, 800)
	b.ExpectConsole("status of 4", "status of 503")
	g.signedOut(b, n, people["nurse"])
	g.newcomer(n, people["nurse"])
	g.console(b, n, people["admin"])
	g.emergencies(n, people, sealed[0][1])
	g.afterwards(b, n)
}

// signedOut are the pages before anybody is known.
func (g *gallery) signedOut(b *mitraltest.Page, n *node, nurse person) {
	b.Open(n.url + "/demo")
	g.shoot(b, "demo")
	b.Open(n.url + "/demo/gallery")
	g.shoot(b, "gallery")
	b.Open(n.url + "/signin?resume=0")
	g.shoot(b, "signin")
	b.WaitFocused("#identifier")
	b.Press(nurse.email + mitraltest.Tab + misread(nurse.key) + mitraltest.Enter)
	b.WaitVisible("#key-wrong")
	g.shoot(b, "signin-slip")
	b.Open(n.url + "/signin?resume=0")
	b.WaitFocused("#identifier")
	b.Press(nurse.card())
	b.WaitFocused("#pin")
	g.shoot(b, "signin-pin")
	b.Press("0000")
	b.WaitVisible("[role=alert]")
	g.shoot(b, "signin-refused")
	b.Open(n.url + "/emergency")
	g.shoot(b, "emergency")
	b.Click("label:has([value=visiting])")
	g.shoot(b, "emergency-visiting")
	b.Click("label:has([value=pickup])")
	g.shoot(b, "emergency-pickup")
	b.Open(n.url + "/emergency?drill=1")
	g.shoot(b, "emergency-drill")
	b.Open(n.url + "/nowhere")
	g.shoot(b, "not-found")
	b.Open(n.url + "/claim/nothing")
	g.shoot(b, "claim-unknown")
	b.Open(n.url + "/setup")
	g.shoot(b, "setup-over")
}

// newcomer does what the demo's first page proposes, as the nurse.
func (g *gallery) newcomer(n *node, nurse person) {
	b := mitraltest.Browser(g.t)
	b.Size(1280, 800)
	b.ExpectConsole("status of 401", "status of 403", "status of 423")
	signInAt(b, n.url+"/demo/chart", nurse)
	b.WaitText("#name", "Patient Maple")
	g.shoot(b, "chart")
	b.Click("a[href$='P-1042']")
	b.WaitText("h1", "Sealed record")
	g.shoot(b, "chart-sealed")
	b.Click("a[href$='P-1001']")
	b.Type("#note", " "+draft)
	b.ClickNamed("button", "Export")
	b.WaitFocused(confirmPIN)
	g.shoot(b, "chart-confirm")
	b.Press(nurse.pin)
	b.WaitText("#says", "Exported")
	b.Open(n.url + "/account")
	b.WaitText("h1", "My security")
	g.shoot(b, "account")
	b.ClickNamed("button", "Replace my key")
	b.WaitVisible("h1")
	if b.Visible("[name=pin]") {
		g.shoot(b, "step-up")
		b.Press(nurse.pin)
	}
	b.WaitText("h1", "Your key")
	g.shoot(b, "key-once")
	g.print(b, "key-once-print")
	key := b.Text("#new-key")
	n.secrets.keep(key)
	b.Type("#last_two", key[len(key)-2:])
	b.ClickNamed("button", "I have kept my key")
	b.WaitText("h1", "My security")
	b.Open(n.url + "/admin")
	g.shoot(b, "not-for-your-role")
	b.Open(n.url + "/demo/chart")
	b.ClickNamed("button", "Lock")
	b.WaitFocused(curtainPIN)
	g.shoot(b, "chart-locked")
	b.Open(n.url + "/account") // a page load of a locked session
	b.WaitText("h1", "Locked")
	g.shoot(b, "locked")
	b.WaitFocused("#pin")
	b.Press("0000")
	b.WaitText("main", "left")
	g.shoot(b, "locked-wrong")
}

// console is what administrators have.
func (g *gallery) console(b *mitraltest.Page, n *node, admin person) {
	signInAt(b, n.url+"/admin", admin)
	b.WaitText("h1", "Overview")
	g.shoot(b, "admin")
	b.Open(n.url + "/admin/people/new")
	g.shoot(b, "person-new")
	b.Type("#name", "Ruth Mensah")
	b.Type("#email", "ruth@hope.example")
	b.Select("#role", "nurse")
	b.Click("label:has([value=letter])")
	b.ClickNamed("button", "Add")
	b.WaitText("h1", "Ruth Mensah is added")
	g.shoot(b, "person-delivery")
	g.print(b, "person-letter-print")
	link, code := strings.TrimSpace(b.Text("#claim-url")), b.Text("#claim-code")
	n.secrets.keep(link[strings.LastIndexByte(link, '/')+1:])

	c := mitraltest.Browser(g.t)
	c.Size(1280, 800)
	c.ExpectConsole("status of 4")
	c.Open(link)
	g.shoot(c, "claim")
	c.Type("#code", code)
	c.Type("#pin", "4916")
	c.ClickNamed("button", "Make my key")
	c.WaitText("h1", "Your key")
	key := c.Text("#new-key")
	n.secrets.keep(key)
	g.shoot(c, "claim-key")
	c.Type("#last_two", key[len(key)-2:])
	c.ClickNamed("button", "I have kept my key")
	c.WaitText("h1", "Your recovery codes")
	g.shoot(c, "recovery")
	g.print(c, "recovery-print")
	c.Open(link)
	g.shoot(c, "claim-used")

	b.Open(n.url + "/admin/people")
	g.shoot(b, "people")
	b.ClickNamed("link", "Ruth Mensah")
	b.WaitText("h1", "Ruth Mensah")
	g.shoot(b, "person")
	b.Open(n.url + "/admin/break-glass")
	g.shoot(b, "break-glass-none")
	b.Open(n.url + "/admin/sealed-codes")
	g.shoot(b, "sealed-codes")
	b.Type("#location", "Pharmacy safe")
	b.ClickNamed("button", "Make and print")
	b.WaitFocused("#pin")
	g.shoot(b, "step-up-codes")
	b.Press(admin.pin)
	b.WaitText("h1", "new sealed codes")
	g.shoot(b, "sealed-minted")
	g.print(b, "sealed-minted-print")
	n.secrets.keep(mitraltest.Eval[[]string](b, `[...document.querySelectorAll('.list code')].map(c => c.textContent.trim())`)...)
	b.Open(n.url + "/admin/record")
	g.shoot(b, "record")
	b.Open(n.url + "/admin/record/checkpoint")
	g.shoot(b, "checkpoint")
	b.Open(n.url + "/admin/policy")
	g.shoot(b, "policy")
	b.Open(n.url + "/admin/policy?tab=document")
	g.shoot(b, "policy-document")
	b.Open(n.url + "/admin/health")
	g.shoot(b, "health")
}

// emergencies open one each way, and look at the chart inside.
func (g *gallery) emergencies(n *node, people map[string]person, sealed string) {
	b := mitraltest.Browser(g.t)
	b.Size(1280, 800)
	b.ExpectConsole("status of 401", "status of 403", "status of 423")
	signInAt(b, n.url+"/demo/chart", people["admin"])
	g.shoot(b, "chart-administrator")
	b.ClickNamed("button", "Lock")
	b.WaitFocused(curtainPIN)
	form := b.Follow(func() { b.ClickNamed("link", "Emergency access") })
	form.Size(1280, 800)
	form.WaitText("h1", "Emergency access")
	g.shoot(form, "emergency-own")
	form.Type("#pin", people["admin"].pin)
	form.Click("label:has([value=patient_emergency])")
	form.Click("label:has([name=unidentified])")
	form.Type("#reason", "Chest pain, nobody else is here")
	holdToOpen(form)
	form.WaitText("h1", "Emergency access is open")
	g.shoot(form, "grant")
	b.Front()
	b.WaitGone(curtain)
	b.Open(n.url + "/demo/chart/patients/P-1042")
	readsSealed(b)
	g.shoot(b, "chart-emergency")
	b.ClickNamed("button", "End")
	b.WaitText(curtain, "Emergency access has ended.")
	g.shoot(b, "chart-ended")
	form.Close()

	c := mitraltest.Browser(g.t)
	c.Size(1280, 800)
	c.Open(n.url + "/emergency")
	c.Type("#sealed_code", sealed)
	c.Type("#subject", people["doctor"].email)
	c.Type("#pin", people["doctor"].pin)
	c.Click("label:has([value=cannot_sign_in])")
	c.Type("#reason", "Phone broken")
	holdToOpen(c)
	c.WaitText("h1", "Emergency access is open")
	c.ClickNamed("button", "End emergency access now")
	c.WaitText("h1", "ended")
	g.shoot(c, "grant-over")
}

// afterwards is what the administrator finds.
func (g *gallery) afterwards(b *mitraltest.Page, n *node) {
	b.Open(n.url + "/demo/outbox")
	if text := b.Text("main"); !strings.Contains(text, "Text message to") || !strings.Contains(text, "Mail to") {
		g.t.Errorf("the outbox lacks mail or SMS: %.300s", text)
	}
	g.shoot(b, "outbox")
	b.Open(n.url + "/admin/break-glass")
	g.shoot(b, "break-glass")
	b.Click(".list a")
	b.WaitText("h1", "BG-")
	g.shoot(b, "story")
	b.Open(n.url + "/admin")
	g.shoot(b, "admin-after")
}
