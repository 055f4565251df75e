package quartermaster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Kinds of failure, for errors.Is.
var (
	// ErrInvalidRequest: a value is wrong; the APIError's Problems name it.
	ErrInvalidRequest = errors.New("quartermaster: invalid request")
	// ErrToken: a token is needed, or this one is wrong, expired or revoked.
	ErrToken = errors.New("quartermaster: token refused")
	// ErrScope: the token does not open this.
	ErrScope = errors.New("quartermaster: scope too small")
	// ErrNotFound: there is no such agent or version.
	ErrNotFound = errors.New("quartermaster: not found")
	// ErrTooLarge: the server takes no body of this size.
	ErrTooLarge = errors.New("quartermaster: request too large")
	// ErrBusy: too many at once.
	ErrBusy = errors.New("quartermaster: server busy")
	// ErrUnavailable: the server is there but cannot work now.
	ErrUnavailable = errors.New("quartermaster: server unavailable")
	// ErrUnreachable: no whole answer came.
	ErrUnreachable = errors.New("quartermaster: server unreachable")
	// ErrTriesSpent: a call was repeated as often as it may be.
	ErrTriesSpent = errors.New("quartermaster: no tries left")
)

var kinds = map[int]error{
	http.StatusBadRequest:            ErrInvalidRequest,
	http.StatusUnprocessableEntity:   ErrInvalidRequest,
	http.StatusUnauthorized:          ErrToken,
	http.StatusForbidden:             ErrScope,
	http.StatusNotFound:              ErrNotFound,
	http.StatusRequestEntityTooLarge: ErrTooLarge,
	http.StatusTooManyRequests:       ErrBusy,
	http.StatusServiceUnavailable:    ErrUnavailable,
}

// FieldProblem is what is wrong with one field of a request.
type FieldProblem struct {
	// Field is its path, such as services[1].recent_demand[0].
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

// APIError is an answer of the server that holds no decision.
type APIError struct {
	// Status is the HTTP status.
	Status int `json:"-"`
	// Title names the kind, Detail says what happened and what to do.
	Title    string         `json:"title"`
	Detail   string         `json:"detail"`
	Problems []FieldProblem `json:"problems"`
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	RetryAfter time.Duration `json:"-"`
}

// Error says what the server said.
func (e *APIError) Error() string {
	said := e.Detail
	if said == "" {
		said = e.Title
	}
	return fmt.Sprintf("quartermaster: %d: %s", e.Status, said)
}

// Is tells whether the error is of a kind, such as ErrInvalidRequest.
func (e *APIError) Is(target error) bool {
	return target == kinds[e.Status]
}

// UnreachableError is a call that no whole answer came to.
type UnreachableError struct {
	Err error
}

// Error says why.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("quartermaster: no answer: %v", e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Is tells whether this is ErrUnreachable.
func (e *UnreachableError) Is(target error) bool { return target == ErrUnreachable }

// DecodeError is an answer that is no decision, though the server said that it was one.
type DecodeError struct {
	Err error
}

// Error says why.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("quartermaster: the answer cannot be read: %v", e.Err)
}

// Unwrap returns the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// GiveUpError is a call that was not answered in the tries or the time that it had.
type GiveUpError struct {
	Tries int
	// Last is the failure of the last try.
	Last error
	// Reason is why no other one followed: ErrTriesSpent, or the error of the context.
	Reason error
}

// Error says what failed and why it was not tried again.
func (e *GiveUpError) Error() string {
	return fmt.Sprintf("%v (given up after try %d: %v)", e.Last, e.Tries, e.Reason)
}

// Unwrap returns the failure of the last try.
func (e *GiveUpError) Unwrap() error { return e.Last }

// Is tells whether the reason is of a kind, such as context.DeadlineExceeded.
func (e *GiveUpError) Is(target error) bool { return errors.Is(e.Reason, target) }

func readProblem(status int, header http.Header, content []byte) *APIError {
	problem := new(APIError)
	if err := json.Unmarshal(content, problem); err != nil {
		problem = &APIError{} // a proxy's page, say: the status must do
	}
	problem.Status = status
	if problem.Title == "" {
		problem.Title = http.StatusText(status)
	}
	problem.RetryAfter = readRetryAfter(header.Get("Retry-After"), time.Now())
	return problem
}
