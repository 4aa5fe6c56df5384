package web

import (
	"net/http"
	"strconv"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/web/view"
)

// codesPage is the inventory of sealed codes.
func (s *Web) codesPage(c *call) error {
	if err := c.allowed(policy.ActSealedCodes, "break_glass.codes"); err != nil {
		return err
	}
	v, err := c.codes()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, view.SealedCodesPage(v))
}

func (c *call) codes() (view.SealedCodes, error) {
	var v view.SealedCodes
	codes, err := c.BreakGlass.Codes(c.ctx(), c.plainWho())
	if err != nil {
		return v, err
	}
	names, err := c.names()
	if err != nil {
		return v, err
	}
	for _, code := range codes {
		row := view.SealedRow{Label: code.Label, Location: code.Location, MadeBy: actorName(code.MintedBy, names), MadeAt: code.CreatedAt, ReplaceBy: code.ReplaceBy, State: code.State}
		if code.State == breakglass.CodeUsed && code.Grant != "" {
			row.UsedFor = view.Link{Label: "What for", URL: view.GrantURL(code.Grant)}
		}
		v.Codes = append(v.Codes, row)
	}
	v.Frame = c.frame()
	return v, nil
}

// mintCodes makes sealed codes and shows their letters, once.
func (s *Web) mintCodes(c *call) error {
	location := c.field("location")
	count, err := strconv.Atoi(c.field("count"))
	if err != nil {
		count = 0 // out of bounds, and said so beside the field
	}
	who, err := c.who(policy.ActSealedCodes)
	var minted []view.SealedCode
	if err == nil {
		codes, failed := c.BreakGlass.MintCodes(c.ctx(), who, count, location)
		err = failed
		for _, code := range codes {
			minted = append(minted, view.SealedCode{Label: code.Label, Code: code.Code.Reveal(), Location: code.Location})
		}
	}
	if err != nil {
		bad, err := c.wrong(c.confirm(err, asking{act: "make " + c.field("count") + " sealed codes", detail: "Every other administrator is told.", back: view.PageCodes}),
			nil, "count", "location")
		if err != nil {
			return err
		}
		v, err := c.codes()
		if err != nil {
			return err
		}
		v.Count, v.Location, v.Errors = c.field("count"), location, bad.fields
		return c.show(bad.status, view.SealedCodesPage(v))
	}
	phones, err := c.administratorPhones()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, view.SealedMintedPage(view.SealedMinted{Frame: c.frame(), Codes: minted, ReplaceBy: c.Now().Add(sealedLife), Phones: phones}))
}

// administratorPhones is whom a letter says to phone.
func (c *call) administratorPhones() ([]view.Contact, error) {
	doc, _, err := c.Sessions.Policy(c.ctx(), c.live.WorkspaceID)
	if err != nil {
		return nil, err
	}
	users, err := c.Directory.Users(c.ctx(), c.plainWho(), c.live.WorkspaceID)
	var out []view.Contact
	for _, u := range users {
		if administers(doc, u) && u.Phone != "" {
			out = append(out, view.Contact{Name: u.Name, Role: view.RoleName(u.Role), Phone: u.Phone})
		}
	}
	return out, err
}
