package quartermaster

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"sync"
	"testing"
	"time"
)

// The tests of this file speak with a real server, which tests/clients/test_go_client.py starts.
const (
	liveURL   = "QUARTERMASTER_URL"
	liveToken = "QUARTERMASTER_TOKEN"
)

func live(t testing.TB, options ...Option) *ResourceAllocator {
	t.Helper()
	url := os.Getenv(liveURL)
	if url == "" {
		t.Skip(liveURL + " names no server")
	}
	options = append([]Option{WithToken(os.Getenv(liveToken))}, options...)
	allocator, err := NewResourceAllocator(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(allocator.Close)
	return allocator
}

func example(t testing.TB, allocator *ResourceAllocator) *AllocationRequest {
	t.Helper()
	card, err := allocator.Card(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	request := new(AllocationRequest)
	if err := json.Unmarshal(card.Examples[0], request); err != nil {
		t.Fatal(err)
	}
	return request
}

func checkFeasible(t testing.TB, request *AllocationRequest, decision *AllocationDecision) {
	t.Helper()
	for resource, capacity := range request.Capacity {
		sum := decision.Leftover[resource]
		for _, service := range decision.Services {
			if service.Allocation[resource] < 0 {
				t.Errorf("%s gets %v of %s", service.Name, service.Allocation[resource], resource)
			}
			sum += service.Allocation[resource]
		}
		if math.Abs(sum-capacity) > 1e-6*capacity {
			t.Errorf("%s: %v of %v is accounted for", resource, sum, capacity)
		}
	}
}

func TestLiveAllocation(t *testing.T) {
	allocator := live(t)
	request := example(t, allocator)
	request.Compare = true
	decision, err := allocator.AllocateResources(WithRequestID(context.Background(), "from-go"), request)
	if err != nil {
		t.Fatal(err)
	}
	checkFeasible(t, request, decision)
	if decision.DecidedBy != "policy" || decision.FallbackUsed || decision.RequestID != "from-go" || decision.Expert == nil {
		t.Errorf("%+v", decision)
	}
	if decision.Services[0].Reason == "" || decision.DurationSeconds <= 0 || decision.Version == "" {
		t.Errorf("%+v", decision)
	}
}

func TestLiveDecisionsAreTheSameByAnyCall(t *testing.T) {
	allocator := live(t)
	request := example(t, allocator)
	typed, err := allocator.AllocateResources(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	var plain AllocationDecision
	if err := allocator.client.Invoke(context.Background(), allocator.agent, request, &plain); err != nil {
		t.Fatal(err)
	}
	for index, service := range plain.Services {
		for resource, units := range service.Allocation {
			if typed.Services[index].Allocation[resource] != units {
				t.Errorf("%s of %s: %v and %v", resource, service.Name, units, typed.Services[index].Allocation[resource])
			}
		}
	}
}

func TestLiveBatch(t *testing.T) {
	allocator := live(t)
	request := example(t, allocator)
	requests := make([]AllocationRequest, 8)
	for index := range requests {
		requests[index] = *request
		requests[index].TimeOfDay = float64(index) / 8
	}
	decisions, err := allocator.AllocateBatch(context.Background(), requests)
	if err != nil {
		t.Fatal(err)
	}
	for index := range decisions {
		checkFeasible(t, &requests[index], &decisions[index])
	}
	requests[3].Services[0].RecentDemand = nil
	requests[3].TimeOfDay = 2
	_, err = allocator.AllocateBatch(context.Background(), requests)
	var answer *APIError
	if !errors.As(err, &answer) || !errors.Is(err, ErrInvalidRequest) || len(answer.Problems) == 0 {
		t.Errorf("%v", err)
	}
}

func TestLiveDeadline(t *testing.T) {
	allocator := live(t)
	request := example(t, allocator)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if decision, err := allocator.AllocateResources(ctx, request); err != nil || decision.DecidedBy != "policy" {
		t.Errorf("%+v, %v", decision, err)
	}
	gone, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	if _, err := allocator.AllocateResources(gone, request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestLiveProblemsNameTheField(t *testing.T) {
	allocator := live(t)
	request := example(t, allocator)
	request.Services[1].RecentDemand[0] = -1
	_, err := allocator.AllocateResources(context.Background(), request)
	var answer *APIError
	if !errors.As(err, &answer) || !errors.Is(err, ErrInvalidRequest) || answer.Status != 422 {
		t.Fatalf("%v", err)
	}
	if answer.Problems[0].Field != "services[1].recent_demand[0]" {
		t.Errorf("%+v", answer.Problems)
	}
}

func TestLiveUnknownAgentsAndTokensAreRefused(t *testing.T) {
	unknown := live(t, WithAgent("nobody"))
	if _, err := unknown.AllocateResources(context.Background(), &search); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	version := live(t, WithVersion(999))
	if _, err := version.AllocateResources(context.Background(), &search); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	foreign := live(t, WithToken("not-a-token"))
	if _, err := foreign.AllocateResources(context.Background(), &search); !errors.Is(err, ErrToken) {
		t.Errorf("%v", err)
	}
}

func TestLiveManyAtOnce(t *testing.T) {
	allocator := live(t)
	request := example(t, allocator)
	var group sync.WaitGroup
	for range [8]int{} {
		group.Add(1)
		go func() {
			defer group.Done()
			for range [25]int{} {
				decision, err := allocator.AllocateResources(context.Background(), request)
				if err != nil {
					t.Error(err)
					return
				}
				checkFeasible(t, request, decision)
			}
		}()
	}
	group.Wait()
	metrics := allocator.GetMetrics()
	if metrics.Decisions != 200 || metrics.Failures != 0 || metrics.P50Latency <= 0 {
		t.Errorf("%+v", metrics)
	}
	if records := allocator.History(); len(records) != 200 || records[199].Version == "" {
		t.Errorf("%d kept", len(records))
	}
}

func BenchmarkLiveAllocate(b *testing.B) {
	allocator := live(b)
	request := example(b, allocator)
	b.ResetTimer()
	for n := 0; n < b.N; n++ {
		if _, err := allocator.AllocateResources(context.Background(), request); err != nil {
			b.Fatal(err)
		}
	}
	metrics := allocator.GetMetrics()
	b.ReportMetric(float64(metrics.P50Latency.Microseconds()), "p50-us")
	b.ReportMetric(float64(metrics.P99Latency.Microseconds()), "p99-us")
}
