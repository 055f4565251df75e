package quartermaster

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	defaultAgent   = "resource_allocator"
	defaultHistory = 256
	defaultTimeout = 30 * time.Second
	idlePerHost    = 64
)

// Option changes how a client or an allocator behaves.
type Option func(*settings)

type settings struct {
	token   string
	agent   string
	alias   string
	version int
	history int
	http    *http.Client
	retry   RetryPolicy
}

// WithToken sends a token, as `tokens create` printed it, with every call.
func WithToken(token string) Option {
	return func(s *settings) { s.token = token }
}

// WithAgent names the agent that an allocator asks; resource_allocator by default.
func WithAgent(name string) Option {
	return func(s *settings) { s.agent = name }
}

// WithAlias asks the version that an alias means; champion by default.
func WithAlias(alias string) Option {
	return func(s *settings) { s.alias = alias }
}

// WithVersion asks one version by its number.
func WithVersion(version int) Option {
	return func(s *settings) { s.version = version }
}

// WithHistory keeps so many allocations; 256 by default, 0 keeps none.
func WithHistory(size int) Option {
	return func(s *settings) { s.history = size }
}

// WithHTTPClient carries calls by a client of the caller's, with its own limits and certificates.
func WithHTTPClient(client *http.Client) Option {
	return func(s *settings) { s.http = client }
}

// WithRetries says how often and when a call is repeated.
func WithRetries(policy RetryPolicy) Option {
	return func(s *settings) { s.retry = policy }
}

func collect(options []Option) settings {
	chosen := settings{agent: defaultAgent, history: defaultHistory, retry: DefaultRetries}
	for _, option := range options {
		option(&chosen)
	}
	if chosen.http == nil {
		chosen.http = newHTTPClient()
	}
	return chosen
}

func (s settings) check() error {
	if s.agent == "" {
		return errors.New("quartermaster: WithAgent needs a name")
	}
	if s.version < 0 {
		return fmt.Errorf("quartermaster: version %d: versions count from 1", s.version)
	}
	if s.version > 0 && s.alias != "" {
		return errors.New("quartermaster: choose WithAlias or WithVersion, not both")
	}
	if s.history < 0 {
		return fmt.Errorf("quartermaster: history of %d: choose 0 or more", s.history)
	}
	return s.retry.check()
}

// newHTTPClient keeps more idle connections to the one server than the default two, and does not
// follow redirects: an API that sends a caller elsewhere is not the one that was meant.
func newHTTPClient() *http.Client {
	client := &http.Client{
		Timeout:       defaultTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if usual, ok := http.DefaultTransport.(*http.Transport); ok {
		transport := usual.Clone()
		transport.MaxIdleConnsPerHost = idlePerHost
		client.Transport = transport
	}
	return client
}
