-- Sends one body again and again, and prints what wrk measured as JSON.
local file = assert(io.open(os.getenv("SERVING_BODY"), "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()

function done(summary, latency, requests)
   local errors = summary.errors
   local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   print(string.format(
      '{"requests": %d, "seconds": %.6f, "bad": %d, "p50_seconds": %.9f, "p99_seconds": %.9f}',
      summary.requests, summary.duration / 1e6, bad,
      latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
