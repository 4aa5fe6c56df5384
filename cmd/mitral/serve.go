package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/mitral-health/mitral/internal/server"
)

type serveCommand struct {
	Demo           bool   `help:"Run a made-up clinic on this machine, in ./mitral-demo, and send nothing."`
	Listen         string `placeholder:"HOST:PORT" help:"Address to listen on. Default: localhost:8080."`
	TLSCert        string `name:"tls-cert" placeholder:"FILE" help:"Certificate chain, PEM; re-read when it changes."`
	TLSKey         string `name:"tls-key" placeholder:"FILE" help:"Key of the certificate, PEM."`
	TrustedProxies string `placeholder:"CIDRS" help:"Reverse proxies whose forwarded headers count."`
	OutboundAllow  string `placeholder:"CIDRS" help:"Private networks that calls on a tenant's behalf may reach."`
	AuthJSDialect  string `name:"authjs-dialect" placeholder:"v4|v5" help:"Auth.js of your applications. Default: v5."`
	LogLevel       string `placeholder:"LEVEL" help:"debug, info, warn or error. Default: info."`
}

func (c *serveCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	return server.Serve(ctx, config, server.ServeOptions{Demo: c.Demo, Stdout: a.stdout, Stderr: a.stderr})
}

// settingsHelp lists every setting by its names in the environment and in
// mitral.yaml.
func settingsHelp() string {
	var b strings.Builder
	b.WriteString("\nSettings, as environment variables and as keys of mitral.yaml. A flag outranks the\n" +
		"environment, which outranks the file:\n")
	for _, s := range server.Settings() {
		fmt.Fprintf(&b, "  %-30s  %-33s  %s\n", s.Env, s.Path, s.Meaning)
	}
	b.WriteString("\nA secret may also be read from a file: MITRAL_MAIL_URL_FILE=/run/secrets/mail, for example.\n" +
		"docs/operate/configuration.md explains each setting.\n")
	return b.String()
}
