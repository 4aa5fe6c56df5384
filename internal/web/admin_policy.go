package web

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/web/view"
)

// policyPage shows the workspace's rules in words, and as the document that can
// be changed.
func (s *Web) policyPage(c *call) error {
	doc, rev, err := c.Directory.Policy(c.ctx(), c.plainWho(), c.live.WorkspaceID)
	if err != nil {
		return err
	}
	v := c.policyView(doc)
	v.Tab, v.Document, v.ETag = c.r.URL.Query().Get("tab"), string(doc.JSON()), directory.ETag(rev)
	if v.Tab != editTab && !slices.ContainsFunc(v.Sections, func(p view.PolicySection) bool { return p.Name == v.Tab }) {
		v.Tab = ""
	}
	return c.show(http.StatusOK, view.PolicyPage(v))
}

// editTab is the tab with the document itself.
const editTab = "document"

func (c *call) policyView(doc policy.Document) view.Policy {
	return view.Policy{Frame: c.frame(), Sections: policySections(doc), MayEdit: true}
}

// changePolicy first shows what a document would change, and then, confirmed,
// changes it.
func (s *Web) changePolicy(c *call) error {
	old, _, err := c.Directory.Policy(c.ctx(), c.plainWho(), c.live.WorkspaceID)
	if err != nil {
		return err
	}
	v := c.policyView(old)
	v.Tab, v.Document, v.ETag, v.Reason = editTab, c.form.Get("document"), c.form.Get("etag"), c.field("reason")
	doc, bad := policy.Parse([]byte(v.Document))
	if len(bad) > 0 {
		v.Problems = problemsOf(bad)
		return c.show(http.StatusUnprocessableEntity, view.PolicyPage(v))
	}
	for _, change := range policy.Diff(old, doc) {
		v.Changes = append(v.Changes, view.PolicyChange{Sentence: change.Sentence, Loosens: change.Loosens})
	}
	switch {
	case len(v.Changes) == 0:
		v.Errors = view.FieldErrors{"": "This changes nothing."}
		return c.show(http.StatusOK, view.PolicyPage(v))
	case c.form.Get("confirm") == "":
		return c.show(http.StatusOK, view.PolicyPage(v))
	}
	who, err := c.who(policy.ActPolicy)
	if err == nil {
		_, _, err = c.Directory.PutPolicy(c.ctx(), who, c.live.WorkspaceID, v.ETag, []byte(v.Document), v.Reason)
	}
	if err == nil {
		return c.done(view.PagePolicy, "policy_changed")
	}
	wrong, err := c.wrong(c.confirm(err, asking{act: "change the policy", detail: counted(len(v.Changes), "change"), back: view.PagePolicy + "?tab=" + editTab}), nil, "reason")
	if err != nil {
		return err
	}
	v.Errors = wrong.fields
	return c.show(wrong.status, view.PolicyPage(v))
}

func problemsOf(bad []identity.FieldError) []view.PolicyProblem {
	var out []view.PolicyProblem
	for _, b := range bad {
		out = append(out, view.PolicyProblem{Field: b.Field, Detail: b.Detail})
	}
	return out
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// policySections tell the document in words, for people who never see JSON.
func policySections(d policy.Document) []view.PolicySection {
	return []view.PolicySection{
		{Name: "signin", Title: "Signing in", About: "How people begin, and what counts as a second proof.", Rows: []view.PolicyRow{
			{Rule: "Ways to sign in", Value: words(d.Methods, methodNames)},
			{Rule: "A second proof is", Value: words(d.MFA.Accept, acceptNames)},
			{Rule: "Time to add one, when it becomes needed", Value: lasting(d.MFA.Grace.Value())},
			{Rule: "A mailed link is good for", Value: lasting(d.MagicLink.TTL.Value())},
			{Rule: "Key and PIN when another provider is down", Value: yesNo(d.Fallback.KeyPINWhenIDPDown == "auto")},
		}},
		{Name: "roles", Title: "Roles", About: "Who needs a second proof, and when their screen locks.", Rows: roleRows(d)},
		{Name: "stepup", Title: "Confirming", About: "How long a confirmation lasts before an act asks for another.", Rows: stepUpRows(d)},
		{Name: "emergency", Title: "Emergency access", About: "What a grant is, and who looks at it afterwards.", Rows: []view.PolicyRow{
			{Rule: "Can be opened", Value: yesNo(d.BreakGlass.Enabled)},
			{Rule: "Lasts", Value: counted(d.BreakGlass.Minutes, "minute")},
			{Rule: "Gives the role", Value: view.RoleName(d.BreakGlass.Role)},
			{Rule: "Sealed codes open", Value: sealedWhere(d)},
			{Rule: "Is reviewed by", Value: roleNames(d.BreakGlass.Reviewers)},
		}},
		{Name: "pins", Title: "Keys and PINs", About: "How long they last, and how long a PIN is.", Rows: []view.PolicyRow{
			{Rule: "Digits of a PIN", Value: fmt.Sprint(d.PIN.Length)},
			{Rule: "A PIN lasts", Value: days(d.PIN.MaxAgeDays)},
			{Rule: "Old PINs that are refused", Value: fmt.Sprint(d.PIN.History)},
			{Rule: "A replaced key works on for", Value: days(d.KeyOverlapDays)},
		}},
	}
}

func roleRows(d policy.Document) []view.PolicyRow {
	var out []view.PolicyRow
	for _, name := range slices.Sorted(maps.Keys(d.Roles)) {
		r, _ := d.Role(name)
		second := "no second proof"
		if r.MFARequired {
			second = "a second proof"
		}
		out = append(out, view.PolicyRow{Rule: view.RoleName(name),
			Value: fmt.Sprintf("%s; locks after %s, signed out after %s; %d sessions at most", second, lasting(r.Idle), lasting(r.Absolute), r.SessionLimit)})
	}
	return out
}

func stepUpRows(d policy.Document) []view.PolicyRow {
	var out []view.PolicyRow
	for _, action := range slices.Sorted(maps.Keys(d.StepUpAges)) {
		age, _ := d.StepUp(action)
		asked := "each time"
		if age > 0 {
			asked = "after " + lasting(age)
		}
		out = append(out, view.PolicyRow{Rule: actionName(action), Value: "asked " + asked + ", by " + words(d.StepUpMethods[action], acceptNames)})
	}
	return out
}

var (
	methodNames = map[string]string{policy.Google: "Google", policy.Microsoft: "Microsoft", policy.Telegram: "Telegram", policy.Email: "mailed link",
		policy.KeyPIN: "key and PIN", policy.SAML: "single sign-on", policy.Passkey: "passkey"}
	acceptNames = map[string]string{policy.WebAuthn: "passkey or security key", policy.TOTP: "app code", policy.PairAnywhere: "key and PIN itself",
		policy.PairOnRegistered: "key and PIN itself, on a registered workstation", policy.PINStepUp: "PIN"}
	actionNames = map[string]string{policy.ActUsers: "People and claims", policy.ActPolicy: "Policy", policy.ActCredentials: "Own key", policy.ActFactors: "Own factors",
		policy.ActReview: "Verdicts", policy.ActBreakGlass: "Emergency access", policy.ActSealedCodes: "Sealed codes", policy.ActAuditExport: "Exporting the record",
		policy.ActAuditRead: "Reading the record"}
)

func actionName(action string) string {
	if name, ok := actionNames[action]; ok {
		return name
	}
	name := strings.ReplaceAll(action, "_", " ")
	return strings.ToUpper(name[:1]) + name[1:]
}

func words(list []string, called map[string]string) string {
	if len(list) == 0 {
		return "nothing"
	}
	said := make([]string, len(list))
	for i, word := range list {
		said[i] = word
		if name, ok := called[word]; ok {
			said[i] = name
		}
	}
	return strings.Join(said, ", ")
}

func roleNames(roles []identity.Role) string {
	if len(roles) == 0 {
		return "nobody"
	}
	said := make([]string, len(roles))
	for i, r := range roles {
		said[i] = view.RoleName(r)
	}
	return strings.Join(said, ", ")
}

func sealedWhere(d policy.Document) string {
	if d.BreakGlass.Sealed.Where == "clinic" {
		return "only in the clinic"
	}
	return "anywhere"
}

func yesNo(yes bool) string {
	if yes {
		return "Yes"
	}
	return "No"
}

func days(n int) string {
	if n == 0 {
		return "No limit"
	}
	return counted(n, "day")
}

// lasting says a length of time in its largest whole unit.
func lasting(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day && d%day == 0:
		return counted(int(d/day), "day")
	case d >= time.Hour && d%time.Hour == 0:
		return counted(int(d/time.Hour), "hour")
	case d >= time.Minute && d%time.Minute == 0:
		return counted(int(d/time.Minute), "minute")
	}
	return counted(int(d/time.Second), "second")
}
