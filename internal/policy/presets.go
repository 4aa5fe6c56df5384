package policy

import (
	"errors"
	"fmt"
)

// ErrPreset is returned for a preset that does not exist.
var ErrPreset = errors.New("there is no such preset: choose clinic, hospital, cloud or paper")

// What the presets differ in; the rest is the defaults of Parse.
var presetAccept = map[string]string{
	"clinic":   `"webauthn","totp","key_pin"`,
	"hospital": `"webauthn","totp","key_pin_on_registered_device"`,
	"cloud":    `"webauthn","totp"`,
	"paper":    `"webauthn","totp","key_pin"`,
}

// Preset returns the policy that a workspace starts with: clinic, hospital,
// cloud or paper. Where Google is configured the caller sets Methods to it.
func Preset(name string) (Document, error) {
	accept, found := presetAccept[name]
	if !found {
		return Document{}, ErrPreset
	}
	d, wrong := Parse(fmt.Appendf(nil, `{
		"methods": ["key-pin","passkey","email"],
		"roles": {"nurse":{},"doctor":{},"staff":{},"admin":{},"privacy_reviewer":{}},
		"mfa": {"accept":[%s]}
	}`, accept))
	if wrong != nil {
		return Document{}, fmt.Errorf("couldn't read preset %s: %v", name, wrong)
	}
	return d, nil
}
