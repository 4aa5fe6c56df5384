package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/server"
)

type setupCommand struct {
	Workspace  string `required:"" placeholder:"NAME" help:"Name of the clinic."`
	AdminEmail string `required:"" placeholder:"ADDRESS" help:"The administrator's mail address."`
	AdminName  string `required:"" placeholder:"NAME" help:"The administrator's name."`
	AdminPhone string `placeholder:"NUMBER" help:"The administrator's telephone, as +442071838750."`
	Preset     string `enum:"clinic,hospital,cloud,paper" default:"clinic" placeholder:"PRESET" help:"clinic, hospital, cloud or paper. Default: clinic."`
	PINFile    string `name:"pin-file" required:"" placeholder:"FILE" help:"File with the administrator's PIN; - reads it from standard input."`
	CodesFile  string `name:"codes-file" placeholder:"FILE" help:"Write the sealed codes there, as JSON, and not to the screen."`
	PrintKEK   bool   `name:"print-kek" help:"Show the key-encryption key too, as a letter to keep under lock."`
	Another    bool   `help:"Make one more workspace where there is one already."`
	asJSON
}

func (c *setupCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	pin, err := readPIN(c.PINFile, a.stdin)
	if err != nil {
		return err
	}
	// Setup cannot be had twice, so the codes' file is opened first.
	codes, err := openCodesFile(c.CodesFile)
	if err != nil {
		return err
	}
	result, err := server.Setup(ctx, config, server.SetupInput{
		Workspace: c.Workspace, AdminEmail: c.AdminEmail, AdminName: c.AdminName, AdminPhone: c.AdminPhone,
		Preset: c.Preset, PIN: pin, Another: c.Another, PrintKEK: c.PrintKEK,
	})
	if err != nil {
		if codes != nil {
			_ = codes.Close()
			_ = os.Remove(codes.Name())
		}
		return err
	}
	if codes != nil {
		if err := writeCodes(codes, result.SealedCodes); err != nil {
			// Better on the screen than lost.
			a.complain(fmt.Sprintf("%s could not be written (%v): keep the sealed codes of this answer", c.CodesFile, err))
		} else {
			result.SealedCodes = []server.SealedCode{}
		}
	}
	return a.answer(c.JSON, result, func(w *bytes.Buffer) { setupInWords(w, result, config.PublicURL, c.CodesFile) })
}

func setupInWords(w *bytes.Buffer, r server.SetupResult, publicURL, codesFile string) {
	fmt.Fprintf(w, "The workspace %s is ready. Sign in at %s/signin as %s.\n\n", r.Workspace.Slug, publicURL, r.User.Email)
	fmt.Fprintf(w, "Key: %s\n\n", r.Key)
	fmt.Fprintln(w, "Recovery codes. Each works once; keep them on paper, away from the computer:")
	for _, code := range r.RecoveryCodes {
		fmt.Fprintln(w, "  "+code)
	}
	if len(r.SealedCodes) > 0 {
		fmt.Fprintln(w, "\nSealed codes. Put each in its own envelope, seal it, and take it to its place:")
		for _, code := range r.SealedCodes {
			fmt.Fprintf(w, "  %s  %s  %s\n", code.Label, code.Code, code.Location)
		}
	} else {
		fmt.Fprintf(w, "\nThe sealed codes are in %s. Print them, seal each in an envelope, and delete the file.\n", codesFile)
	}
	if r.KEKLetter != "" {
		fmt.Fprintf(w, "\nKey-encryption key. Whoever has it and a backup has everything; without it a backup is "+
			"worth nothing:\n%s\n", r.KEKLetter)
	}
	fmt.Fprintln(w, "\nNothing of this is shown again.")
}

// readPIN reads a PIN and drops one newline at its end. What is no PIN is for
// the server to say.
func readPIN(name string, stdin io.Reader) (identity.Secret, error) {
	const most = 1024
	in := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return "", &server.Advice{What: fmt.Sprintf("the PIN's file cannot be read (%v)", err), Do: "check --pin-file"}
		}
		defer file.Close()
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return "", &server.Advice{What: fmt.Sprintf("the PIN cannot be read (%v)", err), Do: "check --pin-file"}
	}
	if len(content) > most {
		return "", &server.Advice{What: "the PIN's file is too long", Do: "put the PIN alone on its first line"}
	}
	content = bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	return identity.Secret(content), nil
}

// openCodesFile opens the file for the sealed codes, readable by its owner
// alone; nil when they go into the answer. A file that holds something already
// is refused, so that none is lost.
func openCodesFile(name string) (*os.File, error) {
	if name == "" || name == "-" {
		return nil, nil
	}
	const check = "name a new file in --codes-file"
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &server.Advice{What: fmt.Sprintf("the codes' file cannot be written (%v)", err), Do: check}
	}
	info, err := file.Stat()
	switch {
	case err == nil && !info.Mode().IsRegular():
		err = errors.New("it is no plain file")
	case err == nil && info.Size() > 0:
		err = errors.New("it already holds something")
	case err == nil:
		err = file.Chmod(0o600)
	}
	if err != nil {
		_ = file.Close()
		return nil, &server.Advice{What: fmt.Sprintf("%s cannot take the sealed codes (%v)", name, err), Do: check}
	}
	return file, nil
}

// writeCodes writes the codes and closes the file once they are on the disk.
func writeCodes(file *os.File, codes []server.SealedCode) error {
	encoder := json.NewEncoder(file)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(struct {
		SealedCodes []server.SealedCode `json:"sealed_codes"`
	}{codes})
	return errors.Join(err, file.Sync(), file.Close())
}
