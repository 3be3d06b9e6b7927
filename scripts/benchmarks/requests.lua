-- What wrk sends, and one line of JSON with what came of it.
--
--   wrk … -s requests.lua URL -- fixed
--   wrk … -s requests.lua URL -- provision QUERY BODY
--   wrk … -s requests.lua URL -- bind QUERY BODY FILE
--   wrk … -s requests.lua URL -- poll FILE
--
-- FILE: an instance id and an operation id on every line; each request takes one
-- at random. New ids are random, as platforms make them, and unique.

local known = {}
local counter = 0

local function read(file)
  for line in io.lines(file) do
    local instance, operation = line:match("^(%S+) (%S+)$")
    known[#known + 1] = { instance, operation }
  end
end

local function fresh()
  counter = counter + 1
  return string.format(
    "%08x-%04x-4%03x-8%03x-%04x%08x",
    math.random(0, 0x7fffffff), math.random(0, 0xffff), math.random(0, 0xfff),
    math.random(0, 0xfff), math.random(0, 0xffff), counter
  )
end

local function seed()
  local random = assert(io.open("/dev/urandom", "rb"))
  local number = 0
  for _, byte in ipairs({ random:read(4):byte(1, 4) }) do
    number = number * 256 + byte
  end
  random:close()
  math.randomseed(number)
end

local instances = "/v2/service_instances/"
local kinds = {}

kinds.fixed = function() end -- wrk's own request, made once

kinds.provision = function(query, body)
  request = function()
    return wrk.format("PUT", instances .. fresh() .. query, nil, body)
  end
end

kinds.bind = function(query, body, file)
  read(file)
  request = function()
    local path = instances .. known[math.random(#known)][1]
    return wrk.format("PUT", path .. "/service_bindings/" .. fresh() .. query, nil, body)
  end
end

kinds.poll = function(file)
  read(file)
  request = function()
    local one = known[math.random(#known)]
    return wrk.format("GET", instances .. one[1] .. "/last_operation?operation=" .. one[2])
  end
end

function init(args)
  seed()
  kinds[args[1]](args[2], args[3], args[4])
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
