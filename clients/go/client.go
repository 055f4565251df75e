// Package quartermaster asks the agents of a Quartermaster server for decisions. It needs the
// standard library only, and every value in it may be used by many goroutines at once.
package quartermaster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	largestAnswer   = 16 << 20
	longestDeadline = 60 * time.Second
	// deadlineName tells the server how long the policy may take.
	deadlineName = "deadline_seconds"
	// policyShare is how much of the time that is left the policy gets; the expert that stands in
	// for a late policy, and the way back, need the rest.
	policyShare = 0.75
)

// Client speaks with one server about any of its agents.
type Client struct {
	base    string
	token   string
	query   url.Values
	http    *http.Client
	retry   RetryPolicy
	sleep   func(context.Context, time.Duration) error
	random  func() float64
	retries atomic.Uint64
}

// NewClient returns a client of the server at a URL such as http://127.0.0.1:8321. It connects
// with the first call.
func NewClient(server string, options ...Option) (*Client, error) {
	return newClient(server, collect(options))
}

func newClient(server string, chosen settings) (*Client, error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("quartermaster: %w", err)
	}
	if (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return nil, fmt.Errorf("quartermaster: server %q: write a URL such as http://127.0.0.1:8321", server)
	}
	if parsed.RawQuery != "" || parsed.Fragment != "" || parsed.User != nil {
		return nil, errors.New("quartermaster: the server's URL must not hold a user, a query or a fragment; see WithToken")
	}
	if err := chosen.check(); err != nil {
		return nil, err
	}
	query := url.Values{}
	if chosen.alias != "" {
		query.Set("alias", chosen.alias)
	}
	if chosen.version > 0 {
		query.Set("version", strconv.Itoa(chosen.version))
	}
	return &Client{
		base:   strings.TrimRight(parsed.String(), "/"),
		token:  chosen.token,
		query:  query,
		http:   chosen.http,
		retry:  chosen.retry,
		sleep:  sleep,
		random: randomShare,
	}, nil
}

// Invoke asks an agent for one decision. The request is anything that encoding/json writes as the
// agent's card describes it; the decision is a pointer to where the answer goes.
//
// A decision changes nothing on the server, so a call is repeated where the server is busy (429),
// unavailable (503) or does not answer. The deadline of the context ends the call, and travels to
// the server, whose expert answers in place of a policy that would be late.
func (c *Client) Invoke(ctx context.Context, agent string, request, decision any) error {
	_, err := c.call(ctx, agent, "invoke", request, decision)
	return err
}

// InvokeBatch asks an agent for many decisions at once, which costs the server one pass of the
// policy. Requests is a slice; decisions a pointer to a slice, which gets one decision per request,
// in the same order. If one request is wrong none is answered, and the error says which.
func (c *Client) InvokeBatch(ctx context.Context, agent string, requests, decisions any) error {
	_, err := c.call(ctx, agent, "batch", requests, decisions)
	return err
}

// Card returns what an agent says of itself.
func (c *Client) Card(ctx context.Context, agent string) (*Card, error) {
	card := new(Card)
	_, err := c.send(ctx, http.MethodGet, c.path(agent, ""), nil, card)
	if err != nil {
		return nil, err
	}
	return card, nil
}

// Close lets idle connections go. Calls that follow open new ones.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
}

// Card holds the parts of an agent's card that a caller needs; the server's has more.
type Card struct {
	Name           string            `json:"name"`
	Version        string            `json:"version"`
	Title          string            `json:"title"`
	Description    string            `json:"description"`
	Domain         string            `json:"domain"`
	ArtifactSHA256 string            `json:"artifact_sha256"`
	FallbackExpert string            `json:"fallback_expert"`
	RequestSchema  json.RawMessage   `json:"request_schema"`
	DecisionSchema json.RawMessage   `json:"decision_schema"`
	Examples       []json.RawMessage `json:"examples"`
}

func (c *Client) path(agent, verb string) string {
	if verb != "" {
		verb = ":" + verb
	}
	target := c.base + "/v1/agents/" + url.PathEscape(agent) + verb
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	return target
}

func (c *Client) call(ctx context.Context, agent, verb string, request, answer any) (int, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, fmt.Errorf("quartermaster: the request is no JSON: %w", err)
	}
	return c.send(ctx, http.MethodPost, c.path(agent, verb), body, answer)
}

// send repeats a call until it is answered for good; it returns how often it tried.
func (c *Client) send(ctx context.Context, method, target string, body []byte, answer any) (int, error) {
	for tries := 1; ; tries++ {
		content, err := c.try(ctx, method, target, body)
		if err == nil {
			return tries, decode(content, answer)
		}
		if ctx.Err() != nil {
			return tries, &GiveUpError{Tries: tries, Last: err, Reason: ctx.Err()}
		}
		if !mayRepeat(err) {
			return tries, err
		}
		if tries >= c.retry.MaxTries {
			return tries, &GiveUpError{Tries: tries, Last: err, Reason: ErrTriesSpent}
		}
		wait, reason := c.retry.delay(ctx, tries, retryAfter(err), c.random())
		if reason == nil {
			reason = c.sleep(ctx, wait)
		}
		if reason != nil {
			return tries, &GiveUpError{Tries: tries, Last: err, Reason: reason}
		}
		c.retries.Add(1)
	}
}

func (c *Client) try(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	request, err := c.prepare(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, &UnreachableError{Err: err}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, largestAnswer+1))
	if err != nil {
		return nil, &UnreachableError{Err: err}
	}
	if len(content) > largestAnswer {
		return nil, &DecodeError{Err: fmt.Errorf("the answer is larger than %d bytes", largestAnswer)}
	}
	if response.StatusCode != http.StatusOK {
		return nil, readProblem(response.StatusCode, response.Header, content)
	}
	return content, nil
}

func (c *Client) prepare(ctx context.Context, method, target string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("quartermaster: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if id, ok := ctx.Value(requestIDKey{}).(string); ok && id != "" {
		request.Header.Set("X-Request-Id", id)
	}
	if end, ok := ctx.Deadline(); ok && method == http.MethodPost {
		tellDeadline(request, time.Until(end))
	}
	return request, nil
}

func tellDeadline(request *http.Request, left time.Duration) {
	seconds := policyShare * left.Seconds()
	if seconds < 1e-6 || seconds > longestDeadline.Seconds() {
		return
	}
	query := request.URL.Query()
	query.Set(deadlineName, strconv.FormatFloat(seconds, 'f', 6, 64))
	request.URL.RawQuery = query.Encode()
}

func decode(content []byte, answer any) error {
	if err := json.Unmarshal(content, answer); err != nil {
		return &DecodeError{Err: err}
	}
	if one, ok := answer.(interface{ check() error }); ok {
		if err := one.check(); err != nil {
			return &DecodeError{Err: err}
		}
	}
	return nil
}

type requestIDKey struct{}

// WithRequestID names the calls made with the context it returns; decisions and the server's
// records carry the name. The server takes at most 100 characters.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}
