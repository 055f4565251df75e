package quartermaster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const wholeDecision = `{"agent":"resource_allocator","version":"3","request_id":"r","decision_id":"d",
"decided_by":"policy","fallback_used":false,"fallback_reason":null,"duration_seconds":0.0002,"warnings":[],
"guardrails":["capacity.compute"],"services":[{"name":"search","allocation":{"compute":20.5},
"expected_served_work":9.0,"expected_lost_work":0.5,"reason":"capacity"}],"leftover":{"compute":0.0},
"expected_value":12.25,"expert":null}`

var search = AllocationRequest{
	Services:  []ServiceState{{Name: "search", RecentDemand: []float64{30}}},
	Capacity:  Amounts{"compute": 60},
	TimeOfDay: 0.5,
}

// serve starts a server that counts what it is asked.
func serve(t testing.TB, answer func(try int64, w http.ResponseWriter, r *http.Request)) (string, *atomic.Int64) {
	t.Helper()
	asked := new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(asked.Add(1), w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func say(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// allocate returns an allocator that notes its pauses in place of resting.
func allocate(t testing.TB, url string, options ...Option) (*ResourceAllocator, *[]time.Duration) {
	t.Helper()
	allocator, err := NewResourceAllocator(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(allocator.Close)
	pauses := new([]time.Duration)
	allocator.client.sleep = func(_ context.Context, pause time.Duration) error {
		*pauses = append(*pauses, pause)
		return nil
	}
	allocator.client.random = func() float64 { return 1 }
	return allocator, pauses
}

func TestAnAllocationIsAskedForAndRead(t *testing.T) {
	var path, token, id, query string
	var sent map[string]any
	url, _ := serve(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		path, query = r.URL.Path, r.URL.RawQuery
		token, id = r.Header.Get("Authorization"), r.Header.Get("X-Request-Id")
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		say(w, http.StatusOK, wholeDecision)
	})
	allocator, _ := allocate(t, url+"/", WithToken("secret"), WithAgent("my agent"), WithVersion(3))
	decision, err := allocator.AllocateResources(WithRequestID(context.Background(), "r-1"), &search)
	if err != nil {
		t.Fatal(err)
	}
	if path != "/v1/agents/my agent:invoke" || query != "version=3" || token != "Bearer secret" || id != "r-1" {
		t.Errorf("sent %q %q %q %q", path, query, token, id)
	}
	if len(sent) != 3 || sent["time_of_day"] != 0.5 {
		t.Errorf("body %v", sent)
	}
	if decision.Services[0].Allocation["compute"] != 20.5 || decision.Version != "3" || decision.DecisionID != "d" ||
		decision.Guardrails[0] != "capacity.compute" || decision.ExpectedValue != 12.25 {
		t.Errorf("read %+v", decision)
	}
}

func TestAnyAgentCanBeInvoked(t *testing.T) {
	type order struct {
		Header
		Units []int `json:"units"`
	}
	url, _ := serve(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/agents/replenisher:invoke" || string(body) != `{"stock":4}` {
			t.Errorf("%s %s", r.URL.Path, body)
		}
		say(w, http.StatusOK, `{"agent":"replenisher","version":"1","decided_by":"policy","units":[3,4]}`)
	})
	client, err := NewClient(url)
	if err != nil {
		t.Fatal(err)
	}
	var decision order
	if err := client.Invoke(context.Background(), "replenisher", map[string]int{"stock": 4}, &decision); err != nil {
		t.Fatal(err)
	}
	if decision.Units[1] != 4 || decision.Agent != "replenisher" {
		t.Errorf("%+v", decision)
	}
}

func TestABatchKeepsItsOrder(t *testing.T) {
	url, _ := serve(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		var sent []AllocationRequest
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil || len(sent) < 2 || r.URL.Path != "/v1/agents/resource_allocator:batch" {
			t.Errorf("%v %+v", err, sent)
		}
		other := strings.Replace(wholeDecision, `"3"`, `"4"`, 1)
		say(w, http.StatusOK, `[`+wholeDecision+`,`+other+`]`)
	})
	allocator, _ := allocate(t, url)
	decisions, err := allocator.AllocateBatch(context.Background(), []AllocationRequest{search, search})
	if err != nil || len(decisions) != 2 || decisions[0].Version != "3" || decisions[1].Version != "4" {
		t.Fatalf("%v %+v", err, decisions)
	}
	if _, err = allocator.AllocateBatch(context.Background(), []AllocationRequest{search, search, search}); err == nil {
		t.Error("two decisions for three requests were taken")
	}
	metrics := allocator.GetMetrics()
	if metrics.Requests != 5 || metrics.Decisions != 2 || metrics.Failures != 3 || metrics.InFlight != 0 {
		t.Errorf("%+v", metrics)
	}
}

func TestABusyServerIsAskedAgain(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		url, asked := serve(t, func(try int64, w http.ResponseWriter, _ *http.Request) {
			if try < 3 {
				if try == 2 {
					w.Header().Set("Retry-After", "7")
				}
				say(w, status, `{"title":"Busy","detail":"later"}`)
				return
			}
			say(w, http.StatusOK, wholeDecision)
		})
		allocator, pauses := allocate(t, url)
		if _, err := allocator.AllocateResources(context.Background(), &search); err != nil {
			t.Fatal(err)
		}
		first, second := 100*time.Millisecond, 7*time.Second+200*time.Millisecond
		if asked.Load() != 3 || (*pauses)[0] != first || (*pauses)[1] != second {
			t.Errorf("asked %d, pauses %v", asked.Load(), *pauses)
		}
		if metrics := allocator.GetMetrics(); metrics.Retries != 2 || metrics.Decisions != 1 {
			t.Errorf("%+v", metrics)
		}
	}
}

func TestAPauseVariesAndEndsItsDoubling(t *testing.T) {
	for _, one := range []struct {
		tries  int
		random float64
		want   time.Duration
	}{
		{1, 0, 50 * time.Millisecond}, {1, 1, 100 * time.Millisecond}, {2, 1, 200 * time.Millisecond},
		{40, 1, 5 * time.Second}, {40, 0.5, 3750 * time.Millisecond},
	} {
		got, err := DefaultRetries.delay(context.Background(), one.tries, 0, one.random)
		if err != nil || got != one.want {
			t.Errorf("try %d, random %v: %v, %v", one.tries, one.random, got, err)
		}
	}
}

func TestWhatIsWrongIsNotAskedAgain(t *testing.T) {
	for status, kind := range kinds {
		if kind == ErrBusy || kind == ErrUnavailable {
			continue
		}
		url, asked := serve(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
			say(w, status, `{"title":"No","detail":"no such service","problems":[{"field":"services[0].name","problem":"unknown"}]}`)
		})
		allocator, _ := allocate(t, url)
		_, err := allocator.AllocateResources(context.Background(), &search)
		var answer *APIError
		if !errors.Is(err, kind) || !errors.As(err, &answer) {
			t.Fatalf("%d: %v", status, err)
		}
		if answer.Status != status || answer.Detail != "no such service" ||
			answer.Problems[0] != (FieldProblem{Field: "services[0].name", Problem: "unknown"}) {
			t.Errorf("%+v", answer)
		}
		if asked.Load() != 1 {
			t.Errorf("%d: asked %d times", status, asked.Load())
		}
	}
}

func TestAFaultOfTheServersAndOddAnswersAreNotAskedAgain(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"fault":             {http.StatusInternalServerError, "<html>"},
		"redirect":          {http.StatusTemporaryRedirect, ""},
		"no JSON":           {http.StatusOK, "<html>"},
		"no decision":       {http.StatusOK, "{}"},
		"null":              {http.StatusOK, "null"},
		"beyond a float":    {http.StatusOK, strings.Replace(wholeDecision, "12.25", "1e999", 1)},
		"other service":     {http.StatusOK, strings.Replace(wholeDecision, `"search"`, `"other"`, 1)},
		"too many services": {http.StatusOK, strings.Replace(wholeDecision, `"services":[`, `"services":[{"name":"search"},`, 1)},
	} {
		url, asked := serve(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			say(w, answer.status, answer.body)
		})
		allocator, _ := allocate(t, url)
		if decision, err := allocator.AllocateResources(context.Background(), &search); err == nil || asked.Load() != 1 {
			t.Errorf("%s: %+v, %v, asked %d times", name, decision, err, asked.Load())
		}
	}
}

func TestAConnectionThatBreaksIsTriedAgain(t *testing.T) {
	url, asked := serve(t, func(try int64, w http.ResponseWriter, _ *http.Request) {
		if try == 1 {
			connection, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				connection.Close()
			}
			return
		}
		if try == 2 { // promise more than is sent
			w.Header().Set("Content-Length", strconv.Itoa(len(wholeDecision)+1))
		}
		say(w, http.StatusOK, wholeDecision)
	})
	allocator, _ := allocate(t, url)
	if _, err := allocator.AllocateResources(context.Background(), &search); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestNobodyThereIsSaidSoAfterAllTries(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	allocator, pauses := allocate(t, "http://"+address)
	_, err = allocator.AllocateResources(context.Background(), &search)
	var gaveUp *GiveUpError
	if !errors.As(err, &gaveUp) || gaveUp.Tries != 5 || !errors.Is(err, ErrUnreachable) || !errors.Is(err, ErrTriesSpent) {
		t.Errorf("%v", err)
	}
	if len(*pauses) != 4 {
		t.Errorf("%d pauses", len(*pauses))
	}
}

func TestTheDeadlineTravelsAndEndsTheCall(t *testing.T) {
	var told atomic.Value
	leave := make(chan struct{})
	url, asked := serve(t, func(_ int64, _ http.ResponseWriter, r *http.Request) {
		told.Store(r.URL.Query().Get("deadline_seconds"))
		<-leave
	})
	t.Cleanup(func() { close(leave) }) // runs before the server waits for its callers
	allocator, _ := allocate(t, url)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := allocator.AllocateResources(ctx, &search)
	if !errors.Is(err, context.DeadlineExceeded) || asked.Load() != 1 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	text, _ := told.Load().(string)
	if seconds, err := strconv.ParseFloat(text, 64); err != nil || seconds <= 0 || seconds > 0.75*0.3 {
		t.Errorf("told %q", text)
	}
}

func TestAPauseThatOutlastsTheDeadlineIsNotBegun(t *testing.T) {
	url, asked := serve(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "20")
		say(w, http.StatusTooManyRequests, "{}")
	})
	allocator, pauses := allocate(t, url)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := allocator.AllocateResources(ctx, &search)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrBusy) || asked.Load() != 1 || len(*pauses) != 0 {
		t.Errorf("asked %d times, pauses %v: %v", asked.Load(), *pauses, err)
	}
}

func TestAServerThatAsksForTooMuchPatienceIsLeft(t *testing.T) {
	url, asked := serve(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		say(w, http.StatusServiceUnavailable, "{}")
	})
	allocator, pauses := allocate(t, url)
	_, err := allocator.AllocateResources(context.Background(), &search)
	if !errors.Is(err, ErrTriesSpent) || !errors.Is(err, ErrUnavailable) || asked.Load() != 1 || len(*pauses) != 0 {
		t.Errorf("asked %d times, pauses %v: %v", asked.Load(), *pauses, err)
	}
}

func TestCancellingEndsAPause(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := sleep(context.Background(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "12": 12 * time.Second, "-3": 0, "soon": 0, "99999999999": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat):  90 * time.Second,
		now.Add(-90 * time.Second).Format(http.TimeFormat): 0,
	} {
		if got := readRetryAfter(text, now); got != want {
			t.Errorf("%q: %v, not %v", text, got, want)
		}
	}
}

func TestNumbersThatJSONLacksAreNotSent(t *testing.T) {
	url, asked := serve(t, func(_ int64, w http.ResponseWriter, _ *http.Request) { say(w, 200, wholeDecision) })
	allocator, _ := allocate(t, url)
	for _, odd := range []float64{math.NaN(), math.Inf(1)} {
		request := search
		request.Capacity = Amounts{"compute": odd}
		if _, err := allocator.AllocateResources(context.Background(), &request); err == nil {
			t.Errorf("%v was taken", odd)
		}
	}
	if _, err := allocator.AllocateResources(context.Background(), nil); err == nil || asked.Load() != 0 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:8321", "ftp://host", "http://", "http://user:secret@host", "http://host?x=1", "http://[::1"} {
		if _, err := NewClient(url); err == nil {
			t.Errorf("%q was taken", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells the password", err)
		}
	}
	for _, option := range []Option{
		WithAgent(""), WithVersion(-1), WithHistory(-1), WithRetries(RetryPolicy{}),
		func(s *settings) { s.alias, s.version = "champion", 1 },
	} {
		if _, err := NewResourceAllocator("http://127.0.0.1:1", option); err == nil {
			t.Error("an option was taken")
		}
	}
}

func TestAFailureDoesNotTellTheToken(t *testing.T) {
	url, _ := serve(t, func(_ int64, w http.ResponseWriter, _ *http.Request) { say(w, http.StatusUnauthorized, "{}") })
	allocator, _ := allocate(t, url, WithToken("secret"))
	if _, err := allocator.AllocateResources(context.Background(), &search); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestTheHistoryKeepsTheNewest(t *testing.T) {
	url, _ := serve(t, func(try int64, w http.ResponseWriter, _ *http.Request) {
		if try == 4 {
			say(w, http.StatusNotFound, `{"detail":"gone"}`)
			return
		}
		say(w, http.StatusOK, strings.Replace(wholeDecision, `"d"`, strconv.Quote("d"+strconv.FormatInt(try, 10)), 1))
	})
	allocator, _ := allocate(t, url, WithHistory(3))
	for range [5]int{} {
		decision, err := allocator.AllocateResources(context.Background(), &search)
		if err == nil {
			decision.Services[0].Allocation["compute"] = -1 // the caller's own copy
		}
	}
	records := allocator.History()
	if len(records) != 3 || records[0].DecisionID != "d3" || !errors.Is(records[1].Err, ErrNotFound) || records[2].DecisionID != "d5" {
		t.Fatalf("%+v", records)
	}
	if records[0].Allocation["search"]["compute"] != 20.5 || records[0].Tries != 1 {
		t.Errorf("%+v", records[0])
	}
	records[0].Allocation["search"]["compute"] = -1
	if allocator.History()[0].Allocation["search"]["compute"] != 20.5 {
		t.Error("a reader changed the history")
	}
	none, _ := allocate(t, url, WithHistory(0))
	if _, err := none.AllocateResources(context.Background(), &search); err != nil || len(none.History()) != 0 {
		t.Errorf("%v, %d kept", err, len(none.History()))
	}
}

func TestManyGoroutinesShareAnAllocator(t *testing.T) {
	url, asked := serve(t, func(try int64, w http.ResponseWriter, _ *http.Request) {
		if try%5 == 0 {
			say(w, http.StatusServiceUnavailable, "{}")
			return
		}
		body := wholeDecision
		if try%2 == 0 {
			body = strings.Replace(body, `"fallback_used":false`, `"fallback_used":true`, 1)
		}
		say(w, http.StatusOK, body)
	})
	allocator, err := NewResourceAllocator(url, WithHistory(16), WithRetries(RetryPolicy{MaxTries: 50}))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range [8]int{} {
		group.Add(1)
		go func() {
			defer group.Done()
			for range [25]int{} {
				if _, err := allocator.AllocateResources(context.Background(), &search); err != nil {
					t.Error(err)
				}
				for _, record := range allocator.History() {
					record.Allocation["search"]["compute"]++
				}
				allocator.GetMetrics()
			}
		}()
	}
	group.Wait()
	metrics := allocator.GetMetrics()
	if metrics.Requests != 200 || metrics.Decisions != 200 || metrics.InFlight != 0 || metrics.Fallbacks == 0 {
		t.Errorf("%+v", metrics)
	}
	if metrics.Retries != uint64(asked.Load())-200 || len(allocator.History()) != 16 {
		t.Errorf("%d retries, asked %d times, %d kept", metrics.Retries, asked.Load(), len(allocator.History()))
	}
}

func TestLatenciesAreQuantilesOfTheNewestCalls(t *testing.T) {
	m := newMeter()
	for n := 1; n <= timedCalls+100; n++ {
		m.begin(1)
		m.end(1, time.Duration(n), nil, nil)
	}
	found := m.read(0)
	if found.MaxLatency != timedCalls+100 || found.P50Latency != 100+timedCalls/2 || found.P99Latency != 100+1014 {
		t.Errorf("%+v", found)
	}
	if empty := newMeter().read(0); empty.MaxLatency != 0 {
		t.Errorf("%+v", empty)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{wholeDecision, `[` + wholeDecision + `]`, "null", "[]", `{"agent":1}`, `{"services":[null]}`, ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		decision := new(AllocationDecision)
		if decode(content, decision) == nil {
			if decision.Agent == "" || decision.DecidedBy == "" {
				t.Errorf("%q passed as a decision", content)
			}
			record := recordOf(decision, time.Time{}, 0, 1)
			again, err := json.Marshal(decision)
			if err != nil || decode(again, new(AllocationDecision)) != nil || len(record.Allocation) > len(decision.Services) {
				t.Errorf("%q does not survive: %v", content, err)
			}
			_ = fits(&search, decision)
		}
		var decisions []AllocationDecision
		if decode(content, &decisions) == nil {
			_ = allFit([]AllocationRequest{search}, decisions)
		}
	})
}

func FuzzProblem(f *testing.F) {
	f.Add([]byte(`{"title":"T","detail":"D","status":422,"problems":[{"field":"f","problem":"p"}]}`), 422, "3")
	f.Add([]byte("<html>"), 503, "Fri, 02 Jan 2026 03:04:05 GMT")
	f.Add([]byte("null"), 429, "-1")
	f.Fuzz(func(t *testing.T, content []byte, status int, after string) {
		problem := readProblem(status, http.Header{"Retry-After": {after}}, content)
		if problem.Status != status || problem.RetryAfter < 0 || problem.Error() == "" {
			t.Errorf("%+v", problem)
		}
	})
}

func BenchmarkAllocate(b *testing.B) {
	url, _ := serve(b, func(_ int64, w http.ResponseWriter, _ *http.Request) { say(w, 200, wholeDecision) })
	allocator, _ := allocate(b, url)
	b.ReportAllocs()
	b.RunParallel(func(each *testing.PB) {
		for each.Next() {
			if _, err := allocator.AllocateResources(context.Background(), &search); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	content := []byte(wholeDecision)
	b.SetBytes(int64(len(content)))
	for n := 0; n < b.N; n++ {
		if err := decode(content, new(AllocationDecision)); err != nil {
			b.Fatal(err)
		}
	}
}
