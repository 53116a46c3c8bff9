-- gridwarden's job_submit plugin: stamps a grid account's job with the lease id of who holds the account.
--
-- It runs inside slurmctld for every submission, so it starts no process and opens only the node file and
-- one holder file, both root's and local.  Jobs of accounts that are not gridwarden's pass untouched.
-- An error in here holds a pool account's job; it never lets one pass and never touches anybody else's.

local NODE_FILE = "/etc/gridwarden/node"
local OFF_FILE = "/etc/gridwarden/off/hooks"
local UNJUDGED = "gridwarden: held"   -- admin_comment of a job that could not be judged; users cannot change it
local OF_BOTH = "gridwarden: held, user's too"  -- the same of one that its user had held (sbatch --hold)
local NO_VALUE = 4294967294           -- NO_VAL of slurm.h: a number that the request does not set

local last_text, last_site            -- the node file as it was last read whole
local last_look                       -- when it was last looked at
local NAMES_SECONDS = 60
local names, names_since = {}, 0      -- by uid: Slurm reads the whole of passwd for a name
local judged = {}                     -- by account: the text of its holder file as it was last, and what that says

-- The text of a file, nil and why (the message, errno) when it cannot be opened.
local function read_text(path)
  local file, message, number = io.open(path, "r")
  if not file then
    return nil, message, number
  end
  local text = file:read("*a")
  file:close()
  return text or ""
end

-- The values of each key in a text of key<TAB>value lines; an error if it is not whole.
local function parse(text, path)
  local values, length = {}, 0
  for key, value in text:gmatch("([^\n\t]+)\t([^\n]*)\n") do
    length = length + #key + #value + 2
    local before = values[key]
    if before then
      before[#before + 1] = value
    else
      values[key] = {value}
    end
  end
  if length ~= #text or not values.version or values.version[1] ~= "1" then
    error(path .. ": is not whole, or not a file of version 1")
  end
  return values
end

-- Whether an administrator has switched hooks off on this machine (gridwarden off hooks) and the time is not over.
local function is_off()
  local text = read_text(OFF_FILE)
  if not text then
    return false
  end
  local fine, values = pcall(parse, text, OFF_FILE)
  local over = fine and values["until"] and tonumber(values["until"][1])
  return over == 0 or (over and os.time() * 1000000 < over)
end

-- What the site has chosen: looked at once a second, since nothing else here is as much work.
local function read_site()
  local now = os.time()
  if last_site and now == last_look then
    return last_site
  end
  last_look = now
  local text = read_text(NODE_FILE)
  if text and text == last_text then
    return last_site
  end
  local fine, values = pcall(parse, text or "", NODE_FILE)
  if fine and values.pool and values.holders then
    last_text, last_site = text, values
  else
    slurm.log_error("gridwarden: event=submit outcome=unread detail=%s", NODE_FILE)
  end
  return last_site
end

local function name_of(job)
  local now, uid = os.time(), job.user_id
  if now < names_since or now >= names_since + NAMES_SECONDS then
    names, names_since = {}, now
  end
  if not names[uid] then
    names[uid] = job.user_name
  end
  return names[uid]
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
  local text, message, number = read_text(path)
  if not text then
    if number ~= 2 then               -- other than ENOENT: the directory itself is at fault
      slurm.log_error("gridwarden: event=submit outcome=unread detail=%s", message)
      assert(not is_pool_account(site, account), "holder-invalid")
    end
    return nil
  end
  local before = judged[account]
  if before and before.text == text and before.uid == uid then
    return before.holder
  end
  local values = parse(text, path)
  local function one(key)
    if not values[key] or #values[key] ~= 1 then
      error(path .. ": has no " .. key)
    end
    return values[key][1]
  end
  local lease, verdict = one("lease"), one("verdict")
  if one("account") ~= account or tonumber(one("uid")) ~= uid then
    error(path .. ": is of another account")
  end
  if #lease ~= 32 or not lease:match("^%x+$") or (verdict ~= "ok" and verdict ~= "banned") then
    error(path .. ": has no lease id, or no verdict")
  end
  local holder = {lease = lease, banned = verdict == "banned"}
  judged[account] = {text = text, uid = uid, holder = holder}
  return holder
end

local function stamp(job, text)
  job.admin_comment = text
  job.extra = text
end

local function hold(job, account, why)
  stamp(job, job.priority == 0 and OF_BOTH or UNJUDGED)
  job.priority = 0
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
  local account = name_of(job)
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

-- Only root changes a stamp, or releases a job that was held because nobody could be found behind it.  Nor does its
-- user hold that once more: nothing would show it, and the node agent's release would undo it.
-- Slurm itself keeps users from changing admin_comment, which is what tells such jobs here.
function slurm_job_modify(job, record, partitions, modify_uid)
  local mark = record.admin_comment
  local unjudged = mark == UNJUDGED or mark == OF_BOTH
  local stamped = type(mark) == "string" and mark ~= "" and (unjudged or mark == record.extra)
  if modify_uid == 0 or not stamped or is_off() then
    return slurm.SUCCESS
  end
  local changes = job.extra ~= nil or job.admin_comment ~= nil
  local releases = unjudged and job.priority ~= nil and job.priority ~= NO_VALUE and job.priority ~= 0
  local holds = mark == UNJUDGED and job.priority == 0 and modify_uid == record.user_id
  if changes or releases or holds then
    slurm.log_info("gridwarden: event=modify outcome=refused reason=%s job=%s uid=%s",
                   "stamp-protected", tostring(record.job_id), tostring(modify_uid))
    slurm.log_user(changes and "refused: gridwarden's stamp on a job cannot be changed"
                   or holds and "refused: this job is held already; hold it once its account's holder is known, or cancel it"
                   or "refused: an administrator releases this job once its account's holder is known")
    return slurm.ERROR
  end
  return slurm.SUCCESS
end

return slurm.SUCCESS
