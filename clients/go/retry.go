package quartermaster

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"strconv"
	"time"
)

// RetryPolicy says how often a call is tried and how long the pauses are.
type RetryPolicy struct {
	// MaxTries counts the first one, too.
	MaxTries int
	// FirstDelay comes before the second try, and doubles for each further one. Up to half of each
	// pause is taken off at random, so that callers who failed together do not return together.
	FirstDelay time.Duration
	// LongestDelay ends the doubling.
	LongestDelay time.Duration
	// LongestRetryAfter is the longest pause that a server may ask for; a call that is told to wait
	// longer is given up at once.
	LongestRetryAfter time.Duration
}

// DefaultRetries tries five times within about two seconds.
var DefaultRetries = RetryPolicy{
	MaxTries:          5,
	FirstDelay:        100 * time.Millisecond,
	LongestDelay:      5 * time.Second,
	LongestRetryAfter: 30 * time.Second,
}

// NoRetries tries once.
var NoRetries = RetryPolicy{MaxTries: 1}

func (p RetryPolicy) check() error {
	if p.MaxTries < 1 || p.FirstDelay < 0 || p.LongestDelay < 0 || p.LongestRetryAfter < 0 {
		return fmt.Errorf("quartermaster: %+v: MaxTries must be at least 1 and no pause negative", p)
	}
	return nil
}

// delay returns the pause after so many tries, or why there is no use in one.
func (p RetryPolicy) delay(ctx context.Context, tries int, asked time.Duration, random float64) (time.Duration, error) {
	if asked > p.LongestRetryAfter {
		return 0, fmt.Errorf("the server asks to wait %v: %w", asked, ErrTriesSpent)
	}
	pause := p.FirstDelay
	for step := 1; step < tries && pause < p.LongestDelay; step++ {
		pause *= 2
	}
	if pause > p.LongestDelay {
		pause = p.LongestDelay
	}
	pause = time.Duration((0.5 + 0.5*random) * float64(pause))
	if asked > 0 {
		pause += asked
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= pause {
		return 0, context.DeadlineExceeded
	}
	return pause, nil
}

func mayRepeat(err error) bool {
	var answer *APIError
	if errors.As(err, &answer) {
		return answer.Status == http.StatusTooManyRequests || answer.Status == http.StatusServiceUnavailable
	}
	var lost *UnreachableError
	return errors.As(err, &lost)
}

func retryAfter(err error) time.Duration {
	var answer *APIError
	if errors.As(err, &answer) {
		return answer.RetryAfter
	}
	return 0
}

// readRetryAfter reads seconds or a date; what is neither, or lies in the past, counts as absent.
func readRetryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil || !at.After(now) {
		return 0
	}
	return at.Sub(now)
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func randomShare() float64 {
	return rand.Float64() //nolint:gosec // spreads callers, hides nothing
}
