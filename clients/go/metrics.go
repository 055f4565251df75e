package quartermaster

import (
	"sort"
	"sync"
	"time"
)

const timedCalls = 1024

// Metrics is what an allocator has counted and timed.
type Metrics struct {
	// Since is when the allocator was made.
	Since time.Time
	// Requests were asked, Decisions came, Fallbacks of these an expert made in place of the
	// policy, Failures are requests without a decision. A batch counts each of its requests.
	Requests, Decisions, Fallbacks, Failures uint64
	// Retries are tries beyond the first one of a call, by any part of the allocator.
	Retries uint64
	// InFlight are requests that wait for their decisions now.
	InFlight int
	// Latencies of the newest 1,024 calls, with their retries; a batch is one call. Zero without any.
	MeanLatency, P50Latency, P95Latency, P99Latency, MaxLatency time.Duration
	// LastError is the newest failure's; nil if there was none.
	LastError error
}

type meter struct {
	mutex     sync.Mutex
	totals    Metrics
	latencies []time.Duration
	next      int
}

func newMeter() *meter {
	return &meter{totals: Metrics{Since: time.Now()}}
}

func (m *meter) begin(requests int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.totals.Requests += uint64(requests)
	m.totals.InFlight += requests
}

func (m *meter) end(requests int, took time.Duration, decisions []AllocationDecision, err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.totals.InFlight -= requests
	if err != nil {
		m.totals.Failures += uint64(requests)
		m.totals.LastError = err
	}
	for index := range decisions {
		m.totals.Decisions++
		if decisions[index].FallbackUsed {
			m.totals.Fallbacks++
		}
	}
	if len(m.latencies) < timedCalls {
		m.latencies = append(m.latencies, took)
		return
	}
	m.latencies[m.next] = took
	m.next = (m.next + 1) % timedCalls
}

func (m *meter) read(retries uint64) Metrics {
	m.mutex.Lock()
	found := m.totals
	times := append([]time.Duration(nil), m.latencies...)
	m.mutex.Unlock()
	found.Retries = retries
	if len(times) == 0 {
		return found
	}
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	var sum time.Duration
	for _, one := range times {
		sum += one
	}
	found.MeanLatency = sum / time.Duration(len(times))
	found.P50Latency = quantile(times, 50)
	found.P95Latency = quantile(times, 95)
	found.P99Latency = quantile(times, 99)
	found.MaxLatency = times[len(times)-1]
	return found
}

// quantile returns the smallest time that so many percent of the sorted times do not exceed.
func quantile(times []time.Duration, percent int) time.Duration {
	rank := (len(times)*percent + 99) / 100
	return times[rank-1]
}
