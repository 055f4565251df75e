package quartermaster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Amounts are units by resource.
type Amounts map[string]float64

// ServiceState is one service and the work it has.
type ServiceState struct {
	// Name is one of the services that the agent was trained for.
	Name string `json:"name"`
	// Waiting is work by the further steps it can wait; the first entry is lost unless served now.
	Waiting []float64 `json:"waiting,omitempty"`
	// RecentDemand is the work that arrived in each of the last steps, newest last.
	RecentDemand []float64 `json:"recent_demand"`
	// Priority is the value of one unit of served work; nil takes the trained one.
	Priority *float64 `json:"priority,omitempty"`
	// Holding are the units held now.
	Holding Amounts `json:"holding,omitempty"`
}

// AllocationRequest says who needs what, and what there is to share in the coming step.
type AllocationRequest struct {
	// Services holds every service of the agent once, in any order.
	Services []ServiceState `json:"services"`
	// Capacity are the units that can be shared now, of all resources.
	Capacity Amounts `json:"capacity"`
	// Price is the cost of a unit held idle for a step; trained ones where a resource is not named.
	Price Amounts `json:"price,omitempty"`
	// TimeOfDay is the share of the day that is over; 0.5 is noon.
	TimeOfDay float64 `json:"time_of_day"`
	// Compare asks for the expert's answer beside the decision.
	Compare bool `json:"compare,omitempty"`
}

// Header is what every decision says about itself, whatever its domain; embed it in a type for
// the decisions of another agent.
type Header struct {
	Agent string `json:"agent"`
	// Version is the one that made the decision.
	Version   string `json:"version"`
	RequestID string `json:"request_id"`
	// DecisionID names the record of the decision, against which an outcome is reported.
	DecisionID string `json:"decision_id"`
	// DecidedBy is "policy", or the name of the expert that stood in for it.
	DecidedBy       string   `json:"decided_by"`
	FallbackUsed    bool     `json:"fallback_used"`
	FallbackReason  string   `json:"fallback_reason"`
	DurationSeconds float64  `json:"duration_seconds"`
	Warnings        []string `json:"warnings"`
	// Guardrails are the constraints that the policy's wish was cut to.
	Guardrails []string `json:"guardrails"`
}

func (h *Header) check() error {
	if h.Agent == "" || h.Version == "" || h.DecidedBy == "" {
		return errors.New("it does not say which agent, which version and who decided")
	}
	return nil
}

// ServiceAllocation is what one service gets.
type ServiceAllocation struct {
	Name               string  `json:"name"`
	Allocation         Amounts `json:"allocation"`
	ExpectedServedWork float64 `json:"expected_served_work"`
	ExpectedLostWork   float64 `json:"expected_lost_work"`
	Reason             string  `json:"reason"`
}

// ExpertAnswer is what the tuned expert would have done.
type ExpertAnswer struct {
	Name          string              `json:"name"`
	Services      []ServiceAllocation `json:"services"`
	Leftover      Amounts             `json:"leftover"`
	ExpectedValue float64             `json:"expected_value"`
}

// AllocationDecision says how the capacities are split.
type AllocationDecision struct {
	Header
	// Services are in the order of the request.
	Services      []ServiceAllocation `json:"services"`
	Leftover      Amounts             `json:"leftover"`
	ExpectedValue float64             `json:"expected_value"`
	// Expert is nil unless asked for.
	Expert *ExpertAnswer `json:"expert"`
}

// ResourceAllocator asks the resource allocation agent, and remembers what it answered.
type ResourceAllocator struct {
	client  *Client
	agent   string
	history *history
	meter   *meter
}

// NewResourceAllocator returns an allocator that asks the server at a URL such as
// http://127.0.0.1:8321. It connects with the first call.
func NewResourceAllocator(server string, options ...Option) (*ResourceAllocator, error) {
	chosen := collect(options)
	client, err := newClient(server, chosen)
	if err != nil {
		return nil, err
	}
	return &ResourceAllocator{
		client:  client,
		agent:   chosen.agent,
		history: newHistory(chosen.history),
		meter:   newMeter(),
	}, nil
}

// AllocateResources asks for one allocation. See Client.Invoke for deadlines and repetition.
func (r *ResourceAllocator) AllocateResources(ctx context.Context, request *AllocationRequest) (*AllocationDecision, error) {
	if request == nil {
		return nil, errors.New("quartermaster: there is no request")
	}
	decision := new(AllocationDecision)
	call := r.begin(1)
	tries, err := r.client.call(ctx, r.agent, "invoke", request, decision)
	if err == nil {
		err = fits(request, decision)
	}
	if err != nil {
		call.fail(tries, err)
		return nil, err
	}
	call.succeed(tries, []AllocationDecision{*decision})
	return decision, nil
}

// AllocateBatch asks for many allocations by one pass of the policy, in the order of the requests.
// If one request is wrong none is answered, and the error says which.
func (r *ResourceAllocator) AllocateBatch(ctx context.Context, requests []AllocationRequest) ([]AllocationDecision, error) {
	var decisions []AllocationDecision
	call := r.begin(len(requests))
	tries, err := r.client.call(ctx, r.agent, "batch", requests, &decisions)
	if err == nil {
		err = allFit(requests, decisions)
	}
	if err != nil {
		call.fail(tries, err)
		return nil, err
	}
	call.succeed(tries, decisions)
	return decisions, nil
}

// Card returns what the agent says of itself.
func (r *ResourceAllocator) Card(ctx context.Context) (*Card, error) {
	return r.client.Card(ctx, r.agent)
}

// GetMetrics returns what this allocator has counted and timed since it was made.
func (r *ResourceAllocator) GetMetrics() Metrics {
	return r.meter.read(r.client.retries.Load())
}

// History returns the newest allocations, oldest first; the slice and all in it are the caller's.
func (r *ResourceAllocator) History() []AllocationRecord {
	return r.history.read()
}

// Close lets idle connections go. Calls that follow open new ones.
func (r *ResourceAllocator) Close() {
	r.client.Close()
}

// allocationCall is a call on its way, to be noted once it is over.
type allocationCall struct {
	allocator *ResourceAllocator
	requests  int
	started   time.Time
}

func (r *ResourceAllocator) begin(requests int) allocationCall {
	r.meter.begin(requests)
	return allocationCall{allocator: r, requests: requests, started: time.Now()}
}

func (c allocationCall) fail(tries int, err error) {
	took := time.Since(c.started)
	c.allocator.meter.end(c.requests, took, nil, err)
	c.allocator.history.add(AllocationRecord{At: c.started, Latency: took, Tries: tries, Err: err})
}

func (c allocationCall) succeed(tries int, decisions []AllocationDecision) {
	took := time.Since(c.started)
	c.allocator.meter.end(c.requests, took, decisions, nil)
	for index := range decisions {
		c.allocator.history.add(recordOf(&decisions[index], c.started, took, tries))
	}
}

func fits(request *AllocationRequest, decision *AllocationDecision) error {
	if len(decision.Services) != len(request.Services) {
		return &DecodeError{Err: fmt.Errorf("%d services were asked for, %d answered", len(request.Services), len(decision.Services))}
	}
	for index, service := range decision.Services {
		if service.Name != request.Services[index].Name {
			return &DecodeError{Err: fmt.Errorf("service %d is %q, asked for %q", index, service.Name, request.Services[index].Name)}
		}
	}
	return nil
}

func allFit(requests []AllocationRequest, decisions []AllocationDecision) error {
	if len(decisions) != len(requests) {
		return &DecodeError{Err: fmt.Errorf("%d decisions for %d requests", len(decisions), len(requests))}
	}
	for index := range requests {
		if err := decisions[index].check(); err != nil {
			return &DecodeError{Err: fmt.Errorf("decision %d: %w", index, err)}
		}
		if err := fits(&requests[index], &decisions[index]); err != nil {
			return err
		}
	}
	return nil
}
