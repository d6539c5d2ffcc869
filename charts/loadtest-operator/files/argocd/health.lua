-- Health of LoadTest and LoadTestRun in Argo CD; the same as kstatus says of them.
local health = { status = "Progressing", message = "Waiting for the operator" }
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end
local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
local function holds(type)
  return found[type] ~= nil and found[type].status == "True"
end
health.message = status.message or ""
if holds("Stalled") then
  health.status = "Degraded"
elseif holds("Reconciling") then
  health.status = "Progressing"
elseif found["Accepted"] == nil then
  health.status = "Progressing"
elseif obj.spec.suspend == true then
  health.status = "Suspended"
else
  health.status = "Healthy"
end
return health
