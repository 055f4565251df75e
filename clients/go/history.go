package quartermaster

import (
	"sync"
	"time"
)

// AllocationRecord is one call as the allocator remembers it.
type AllocationRecord struct {
	// At is when the call began, Latency how long it took with all its tries. The allocations of a
	// batch share both.
	At      time.Time
	Latency time.Duration
	Tries   int
	// Err is why there is no allocation; the fields below are then empty.
	Err error

	RequestID      string
	DecisionID     string
	Version        string
	DecidedBy      string
	FallbackReason string
	// Allocation are the units granted, by service and resource.
	Allocation map[string]Amounts
}

func recordOf(decision *AllocationDecision, at time.Time, took time.Duration, tries int) AllocationRecord {
	granted := make(map[string]Amounts, len(decision.Services))
	for _, service := range decision.Services {
		granted[service.Name] = service.Allocation
	}
	return AllocationRecord{
		At:             at,
		Latency:        took,
		Tries:          tries,
		RequestID:      decision.RequestID,
		DecisionID:     decision.DecisionID,
		Version:        decision.Version,
		DecidedBy:      decision.DecidedBy,
		FallbackReason: decision.FallbackReason,
		Allocation:     granted,
	}.copy()
}

func (r AllocationRecord) copy() AllocationRecord {
	if r.Allocation == nil {
		return r
	}
	granted := make(map[string]Amounts, len(r.Allocation))
	for service, amounts := range r.Allocation {
		own := make(Amounts, len(amounts))
		for resource, units := range amounts {
			own[resource] = units
		}
		granted[service] = own
	}
	r.Allocation = granted
	return r
}

// history keeps the newest records in a ring.
type history struct {
	mutex   sync.Mutex
	records []AllocationRecord
	next    int
	size    int
}

func newHistory(size int) *history {
	return &history{size: size}
}

func (h *history) add(record AllocationRecord) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if len(h.records) < h.size {
		h.records = append(h.records, record)
		return
	}
	if h.size == 0 {
		return
	}
	h.records[h.next] = record
	h.next = (h.next + 1) % h.size
}

func (h *history) read() []AllocationRecord {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	found := make([]AllocationRecord, 0, len(h.records))
	for index := range h.records {
		found = append(found, h.records[(h.next+index)%len(h.records)].copy())
	}
	return found
}
