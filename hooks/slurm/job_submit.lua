-- gridwarden's job_submit plugin: stamps a grid account's job with the lease id of who holds the account.
--
-- It runs inside slurmctld for every submission, so it starts no process and opens only the node file and
-- one holder file, both root's and local.  Jobs of accounts that are not gridwarden's pass untouched.
-- An error in here holds a pool account's job; it never lets one pass and never touches anybody else's.

local NODE_FILE = "/etc/gridwarden/node"
local OFF_FILE = "/etc/gridwarden/off/hooks"
local UNJUDGED = "gridwarden: held"   -- admin_comment of a job that could not be judged; users cannot change it
local NO_VALUE = 4294967294           -- NO_VAL of slurm.h: a number that the request does not set

local last_site = nil                 -- of the node file, as it was last read whole

-- The values of each key of a file of key<TAB>value lines; an error if it is not whole.
local function read_tab_file(path)
  local file = assert(io.open(path, "r"))
  local text = file:read("*a")
  file:close()
  assert(text and text:sub(-1) == "\n", path .. ": the last line is not whole")
  local values = {}
  for line in text:gmatch("([^\n]*)\n") do
    local key, value = line:match("^([^\t]+)\t(.*)$")
    assert(key, path .. ": a line is not key<TAB>value")
    values[key] = values[key] or {}
    table.insert(values[key], value)
  end
  assert(values.version and values.version[1] == "1", path .. ": is not a file of version 1")
  return values
end

-- Whether an administrator has switched hooks off on this machine (gridwarden off hooks) and the time is not over.
local function is_off()
  local file = io.open(OFF_FILE, "r")
  if not file then
    return false
  end
  file:close()
  local fine, values = pcall(read_tab_file, OFF_FILE)
  local over = fine and values["until"] and tonumber(values["until"][1])
  return over == 0 or (over and os.time() * 1000000 < over)
end

local function read_site()
  local fine, values = pcall(read_tab_file, NODE_FILE)
  if fine and values.pool and values.holders then
    last_site = values
  else
    slurm.log_error("gridwarden: event=submit outcome=unread detail=%s", NODE_FILE)
  end
  return last_site
end

local function is_pool_account(site, account)
  for _, pool in ipairs(site.pool) do
    if account:sub(1, #pool) == pool and account:sub(#pool + 1):match("^%d+$") then
      return true
    end
  end
  return false
end

-- The holder of an account; nil when it has none; an error when what stands there cannot be believed.
local function read_holder(site, account, uid)
  assert(not account:find("/", 1, true) and account:sub(1, 1) ~= ".", "not the name of an account")
  local path = site.holders[1] .. "/" .. account
  local file, message, number = io.open(path, "r")
  if not file then
    if number ~= 2 then               -- other than ENOENT: the directory itself is at fault
      slurm.log_error("gridwarden: event=submit outcome=unread detail=%s", message)
      assert(not is_pool_account(site, account), "holder-invalid")
    end
    return nil
  end
  file:close()
  local values = read_tab_file(path)
  local function one(key)
    assert(values[key] and #values[key] == 1, path .. ": has no " .. key)
    return values[key][1]
  end
  assert(one("account") == account and tonumber(one("uid")) == uid, path .. ": is of another account")
  assert(one("lease"):match("^%x+$") and #one("lease") == 32, path .. ": has no lease id")
  assert(one("verdict") == "ok" or one("verdict") == "banned", path .. ": has no verdict")
  return {lease = one("lease"), banned = one("verdict") == "banned"}
end

local function stamp(job, text)
  job.admin_comment = text
  job.extra = text
end

local function hold(job, account, why)
  job.priority = 0
  stamp(job, UNJUDGED)
  slurm.log_info("gridwarden: event=submit outcome=held account=%s detail=%s", account, tostring(why))
  slurm.log_user("held: this site cannot tell at the moment who holds the account %s", account)
  return slurm.SUCCESS
end

local function judge(site, job, account)
  local fine, holder = pcall(read_holder, site, account, job.user_id)
  if not fine then
    return hold(job, account, holder)
  end
  if holder == nil then
    return is_pool_account(site, account) and hold(job, account, "holder-missing") or slurm.SUCCESS
  end
  if holder.banned then
    slurm.log_info("gridwarden: event=submit outcome=refused reason=banned account=%s lease=%s",
                   account, holder.lease)
    slurm.log_user("refused: the identity that holds the account %s is banned at this site", account)
    return slurm.ERROR
  end
  stamp(job, holder.lease)
  slurm.log_info("gridwarden: event=submit outcome=stamped account=%s lease=%s", account, holder.lease)
  return slurm.SUCCESS
end

function slurm_job_submit(job, partitions, submit_uid)
  if is_off() then
    slurm.log_info("gridwarden: event=submit outcome=off account=%s", tostring(job.user_name))
    return slurm.SUCCESS
  end
  local site = read_site()
  if site == nil then
    return slurm.SUCCESS              -- no pool is known here, so nobody's job is gridwarden's
  end
  local account = job.user_name
  if type(account) ~= "string" then
    return hold(job, "uid " .. tostring(job.user_id), "account-unknown")
  end
  local fine, result = pcall(judge, site, job, account)
  if fine then
    return result
  end
  slurm.log_error("gridwarden: event=submit outcome=error account=%s detail=%s", account, tostring(result))
  return is_pool_account(site, account) and hold(job, account, result) or slurm.SUCCESS
end

-- Only root changes a stamp, or releases a job that was held because nobody could be found behind it.
-- Slurm itself keeps users from changing admin_comment, which is what tells such jobs here.
function slurm_job_modify(job, record, partitions, modify_uid)
  local mark = record.admin_comment
  local stamped = type(mark) == "string" and mark ~= "" and (mark == UNJUDGED or mark == record.extra)
  if modify_uid == 0 or not stamped or is_off() then
    return slurm.SUCCESS
  end
  local changes = job.extra ~= nil or job.admin_comment ~= nil
  local releases = mark == UNJUDGED and job.priority ~= nil and job.priority ~= NO_VALUE and job.priority ~= 0
  if changes or releases then
    slurm.log_info("gridwarden: event=modify outcome=refused reason=%s job=%s uid=%s",
                   "stamp-protected", tostring(record.job_id), tostring(modify_uid))
    slurm.log_user(changes and "refused: gridwarden's stamp on a job cannot be changed"
                   or "refused: an administrator releases this job once its account's holder is known")
    return slurm.ERROR
  end
  return slurm.SUCCESS
end

return slurm.SUCCESS
