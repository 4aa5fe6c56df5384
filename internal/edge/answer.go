package edge

import (
	"net/http"
)

// answer adds the visit's cookies as the header leaves, and notes what was
// answered.
type answer struct {
	http.ResponseWriter
	request *request
	status  int
	bytes   int64
}

// WriteHeader sends the header once, with the visit's cookies in it.
func (a *answer) WriteHeader(status int) {
	if status < 200 { // informational: the answer is still to come
		a.ResponseWriter.WriteHeader(status)
		return
	}
	if a.status != 0 {
		return
	}
	a.status = status
	if v := a.request.visit; v != nil {
		for _, c := range v.Cookies() {
			http.SetCookie(a.ResponseWriter, c)
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write sends the header first if that has not been done.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// FlushError sends what was written so far: for streams.
func (a *answer) FlushError() error {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection's deadlines.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
