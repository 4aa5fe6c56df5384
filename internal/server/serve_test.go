package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/server"
)

// TestDoorServe runs the whole server: it says where it is, lets the
// administrator in who was set up before, and ends when it is told to.
func TestDoorServe(t *testing.T) {
	home, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	c, err := server.LoadConfig(server.Flags{}, []string{"MITRAL_DATA=" + data, "HOME=" + home, "MITRAL_LISTEN=127.0.0.1:0", "MITRAL_PUBLIC_URL=http://127.0.0.1:0"}, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	set := installation{c, t}.setup()

	ctx, stop := context.WithCancel(t.Context())
	out, said := io.Pipe()
	log := &bytes.Buffer{}
	ended := make(chan error, 1)
	go func() {
		err := server.Serve(ctx, c, server.ServeOptions{Stdout: said, Stderr: log})
		_ = said.CloseWithError(io.EOF)
		ended <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("it said nothing: %v, %v", err, <-ended)
	}
	public := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "Mitral is at "), "/signin")

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: 20 * time.Second}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/demo": 404, "/demo/outbox": 404} {
		r, err := client.Get(public + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s answers %d, not %d", path, r.StatusCode, want)
		}
	}
	body, err := json.Marshal(map[string]string{"identifier": "grace@hope.example", "key": set.Key, "pin": "8264"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Post(public+"/api/v1/auth/key-pin", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil || r.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"signed_in"`)) {
		t.Errorf("signing in: %d %s %v", r.StatusCode, answer, err)
	}

	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	for _, secret := range []string{set.Key, strings.ReplaceAll(set.Key, "-", ""), "8264\""} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds a secret:\n%s", log)
		}
	}
	if !strings.Contains(log.String(), `"msg":"ready"`) {
		t.Errorf("the log does not say that it was ready:\n%s", log)
	}
}
