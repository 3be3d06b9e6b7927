/*
 * A small broker on @sap/sbf 6.11.9, for `osbkit check` to try.
 *
 * Written as the framework's documentation says, every hook of an instance and of a
 * binding in use, credentials made by the hook (no XSUAA), no audit log. What the
 * author of a hook has to decide is decided as the specification asks; where the
 * framework lets no author answer that way, it answers as it does. A hook can refuse
 * with a status and a sentence; it cannot answer 200 instead of 201, nor name an error
 * code.
 *
 * State is in memory. An asynchronous operation takes TAKES milliseconds. It listens
 * on loopback, at PORT. README.md says how to run it.
 */
'use strict';

const { randomUUID } = require('node:crypto');
const http = require('node:http');
const { isDeepStrictEqual } = require('node:util');
const Broker = require('@sap/sbf');

const TAKES = 2000;
const MODES = ['reader', 'writer'];

// --- the catalog ---------------------------------------------------------------------

const accepts = (properties) => ({
  parameters: {
    $schema: 'http://json-schema.org/draft-04/schema#',
    type: 'object',
    properties,
    additionalProperties: false,
  },
});
const SIZE = { size: { type: 'integer', minimum: 1, maximum: 100 } };
const MODE = { mode: { type: 'string', enum: MODES } };

const plan = (number, name, description) => ({
  id: `8e2d7a40-5b61-4f1e-8d0c-2c9b7e4f00${number}`,
  name,
  description,
  free: true,
  bindable: true,
  schemas: {
    service_instance: { create: accepts(SIZE), update: accepts(SIZE) },
    service_binding: { create: accepts(MODE) },
  },
});

const SLOW = plan('03', 'slow', 'Made in the background.');
const CATALOG = {
  services: [
    {
      id: '8e2d7a40-5b61-4f1e-8d0c-2c9b7e4f0010',
      name: 'shelf',
      description: 'A shelf to put things on.',
      bindable: true,
      plan_updateable: true,
      instances_retrievable: true,
      bindings_retrievable: true,
      plans: [plan('01', 'small', 'A small one.'), plan('02', 'large', 'A large one.'), SLOW],
    },
    {
      id: '8e2d7a40-5b61-4f1e-8d0c-2c9b7e4f0020',
      name: 'drawer',
      description: 'A drawer, closed.',
      bindable: true,
      instances_retrievable: true,
      bindings_retrievable: true,
      plans: [plan('04', 'only', 'The only one.')],
    },
  ],
};

// --- what is there -------------------------------------------------------------------

const instances = new Map();
const deleted = new Set();

const refusal = (statusCode, message) => Object.assign(new Error(message), { statusCode });
const BUSY = () => refusal(422, 'Another operation is in progress.');

class Thing {
  /** An instance or a binding: what it was made with, and what is under way. */
  constructor(told) {
    this.told = told;
    this.bindings = new Map();
    this.doing = '';
    this.ends = 0;
  }

  begin(doing) {
    this.doing = doing;
    this.ends = Date.now() + TAKES;
    this.operation = randomUUID();
    return { async: true, operation: this.operation };
  }

  is(doing) {
    return this.doing === doing && Date.now() < this.ends;
  }

  get busy() {
    return this.doing !== '' && Date.now() < this.ends;
  }

  get gone() {
    return this.doing === 'delete' && !this.busy;
  }

  settle() {
    if (this.doing === 'update' && !this.busy) {
      Object.assign(this.told, this.update);
      this.doing = '';
    }
    return this;
  }
}

function look(things, id) {
  const known = things.get(id);
  if (known && known.gone) {
    things.delete(id);
    deleted.add(id);
    return undefined;
  }
  return known && known.settle();
}

const instanceOf = (params) => look(instances, params.instance_id);

function bindingOf(params) {
  const instance = instanceOf(params);
  return instance && look(instance.bindings, params.binding_id);
}

// --- what is refused -----------------------------------------------------------------

/** Whether it runs in the background, which the platform has to allow. */
function inBackground(params, planId) {
  if (planId !== SLOW.id) return false;
  if (params.accepts_incomplete !== 'true') {
    throw refusal(422, 'This plan needs a client that allows asynchronous operations.');
  }
  return true;
}

function checkSame(thing, params) {
  const { service_id, plan_id } = thing.told;
  if (params.service_id !== service_id || params.plan_id !== plan_id) {
    throw refusal(400, 'It is of another offering or plan.');
  }
}

function checkSize(parameters = {}) {
  const { size = 1, ...others } = parameters;
  if (Object.keys(others).length || !Number.isInteger(size) || size < 1 || size > 100) {
    throw refusal(400, 'parameters may hold a size, an integer from 1 to 100.');
  }
}

/** No plan here has a maintenance version. */
function checkVersion(params) {
  if (params.maintenance_info && params.maintenance_info.version !== undefined) {
    throw refusal(422, 'The plan has no maintenance version.');
  }
}

function checkMode(parameters = {}) {
  const { mode = 'reader', ...others } = parameters;
  if (Object.keys(others).length || !MODES.includes(mode)) {
    throw refusal(400, 'parameters may hold a mode, reader or writer.');
  }
}

// --- instances -----------------------------------------------------------------------

function provision(params) {
  checkSize(params.parameters);
  checkVersion(params);
  const context = params.context || {};
  const told = {
    service_id: params.service_id,
    plan_id: params.plan_id,
    organization: params.organization_guid || context.organization_guid,
    space: params.space_guid || context.space_guid,
    parameters: params.parameters || {},
  };
  const known = instanceOf(params);
  if (known) {
    if (!isDeepStrictEqual(known.told, told) || known.is('delete')) {
      throw refusal(409, 'There is another instance of this id.');
    }
    return known.is('create') ? { async: true, operation: known.operation } : {};
  }
  const slow = inBackground(params, params.plan_id);
  const made = new Thing(told);
  instances.set(params.instance_id, made);
  return slow ? made.begin('create') : {};
}

function update(params) {
  const known = instanceOf(params);
  if (!known) throw refusal(404, 'There is no such instance.');
  if (params.service_id !== known.told.service_id) {
    throw refusal(400, 'The instance is of another offering.');
  }
  checkSize(params.parameters);
  checkVersion(params);
  const planId = params.plan_id || known.told.plan_id;
  const offering = CATALOG.services.find((one) => one.id === params.service_id);
  if (planId !== known.told.plan_id && !offering.plan_updateable) {
    throw refusal(400, 'Plans of this offering cannot be changed.');
  }
  const slow = inBackground(params, planId);
  const change = {
    plan_id: planId,
    parameters: { ...known.told.parameters, ...params.parameters },
  };
  if (known.is('update') && isDeepStrictEqual(change, known.update)) {
    return { async: true, operation: known.operation };
  }
  if (known.busy) throw BUSY();
  known.update = change;
  if (slow) return known.begin('update');
  Object.assign(known.told, known.update);
  return {};
}

function deprovision(params) {
  const known = instanceOf(params);
  if (!known) throw refusal(410, 'There is no such instance.');
  checkSame(known, params);
  const slow = inBackground(params, params.plan_id);
  if (known.is('delete')) return { async: true, operation: known.operation };
  if (known.is('update')) throw BUSY();
  if (slow) return known.begin('delete');
  instances.delete(params.instance_id);
  return {};
}

function fetchInstance(params) {
  const known = instanceOf(params);
  if (!known || known.is('create')) throw refusal(404, 'There is no such instance.');
  if (known.is('update')) throw BUSY();
  const { service_id, plan_id, parameters } = known.told;
  return { service_id, plan_id, parameters };
}

/** How far the last operation of what has this id is. */
function stateOf(known, id, params) {
  if (!known && deleted.has(id)) throw refusal(410, 'It is gone.');
  if (!known) throw refusal(404, 'There is no such thing.');
  if (params.operation && params.operation !== known.operation) {
    throw refusal(400, 'There is no such operation.');
  }
  return { state: known.busy ? 'in progress' : 'succeeded' };
}

// --- bindings ------------------------------------------------------------------------

function bind(params) {
  checkMode(params.parameters);
  const instance = instanceOf(params);
  if (!instance) throw refusal(404, 'There is no such instance.');
  checkSame(instance, params);
  const told = {
    service_id: params.service_id,
    plan_id: params.plan_id,
    app: (params.bind_resource || {}).app_guid,
    parameters: params.parameters || {},
  };
  const known = bindingOf(params);
  if (known) {
    if (!isDeepStrictEqual(known.told, told) || known.is('delete')) {
      throw refusal(409, 'There is another binding of this id.');
    }
    if (known.is('create')) return { async: true, operation: known.operation };
    return { credentials: known.credentials };
  }
  if (instance.busy) throw BUSY();
  const slow = inBackground(params, params.plan_id);
  const made = new Thing(told);
  made.credentials = { user: params.binding_id, password: randomUUID() };
  instance.bindings.set(params.binding_id, made);
  return slow ? made.begin('create') : { credentials: made.credentials };
}

function unbind(params) {
  const known = bindingOf(params);
  if (!known) throw refusal(410, 'There is no such binding.');
  checkSame(known, params);
  const slow = inBackground(params, params.plan_id);
  if (known.is('delete')) return { async: true, operation: known.operation };
  if (slow) return known.begin('delete');
  instanceOf(params).bindings.delete(params.binding_id);
  return {};
}

function fetchBinding(params) {
  const known = bindingOf(params);
  if (!known || known.is('create')) throw refusal(404, 'There is no such binding.');
  return { credentials: known.credentials, parameters: known.told.parameters };
}

// --- the framework -------------------------------------------------------------------

/** A hook that answers with what a function returns, and refuses with what it throws. */
const hook = (answer) => (params, callback) => {
  let reply;
  try {
    reply = answer(params);
  } catch (error) {
    return callback(error);
  }
  return callback(null, reply);
};

const broker = new Broker({
  catalog: CATALOG,
  brokerCredentials: { conformance: 'a-password-for-loopback-only' },
  autoCredentials: false,
  enableAuditLog: false,
  hooks: {
    onProvision: hook(provision),
    onUpdate: hook(update),
    onDeprovision: hook(deprovision),
    onLastOperation: hook((params) =>
      stateOf(instanceOf(params), params.instance_id, params)),
    onFetchInstanceParams: hook(fetchInstance),
    onBind: hook(bind),
    onUnbind: hook(unbind),
    onBindLastOperation: hook((params) =>
      stateOf(bindingOf(params), params.binding_id, params)),
    onFetchBindingParams: hook(fetchBinding),
  },
});

http.createServer(broker.app).listen(Number(process.env.PORT || 8080), '127.0.0.1');
