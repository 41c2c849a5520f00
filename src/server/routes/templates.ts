import { z } from 'zod'
import { ForkRequest, ForkResult } from '../../api/fork.ts'
import { pageQuery, queryList, Ref } from '../../api/primitives.ts'
import {
  Template,
  TemplateCreate,
  TemplateCreated,
  TemplatePage,
  TemplateUpdate,
  templateStates,
} from '../../api/template.ts'
import { limits } from '../../shared/limits.ts'
import { actionRoute, type Route, valueRoute } from '../route.ts'
import { forkErrors } from './vm-actions.ts'

const templateParams = z.object({ template: Ref.describe('Id or name of the template.') })

export const templateRoutes: Route[] = [
  valueRoute({
    operationId: 'listTemplates',
    method: 'GET',
    path: '/v1/templates',
    tag: 'templates',
    summary: 'List templates, oldest first',
    query: z.strictObject({
      ...pageQuery,
      state: queryList(z.enum(templateStates)).describe('Only those in one of these states.'),
    }),
    answer: { status: 200, schema: TemplatePage },
    errors: [],
    handle: ({ engine, query }) => engine.listTemplates(query),
  }),
  actionRoute({
    operationId: 'createTemplate',
    method: 'POST',
    path: '/v1/templates',
    tag: 'templates',
    summary: 'Make a template from a running vm, which it consumes, or in one go from an image',
    body: TemplateCreate,
    wait: false,
    creates: true,
    answer: {
      status: 201,
      schema: TemplateCreated,
      location: (value) => `/v1/templates/${(value as TemplateCreated).template.id}`,
    },
    errors: [
      'INVALID_NAME',
      'NAME_TAKEN',
      'VM_NOT_FOUND',
      'IMAGE_NOT_FOUND',
      'ILLEGAL_STATE',
      'NO_CAPACITY',
      'NO_SPACE',
      'HOST_UNFIT',
      'BASE_DAMAGED',
      'GUEST_PANIC',
      'GUEST_REFUSED',
      'GUEST_UNREACHABLE',
      'AGENT_PROTOCOL',
      'READINESS_FAILED',
      'VMM_FAILED',
      'QMP_FAILED',
      'TIMEOUT',
      'CANCELLED',
    ],
    handle: ({ engine, body, operationId }) => engine.createTemplate(body, { operationId }),
  }),
  valueRoute({
    operationId: 'getTemplate',
    method: 'GET',
    path: '/v1/templates/{template}',
    tag: 'templates',
    summary: 'Look at one template',
    params: templateParams,
    answer: { status: 200, schema: Template },
    errors: ['TEMPLATE_NOT_FOUND'],
    handle: ({ engine, params }) => engine.getTemplate(params.template),
  }),
  valueRoute({
    operationId: 'updateTemplate',
    method: 'PATCH',
    path: '/v1/templates/{template}',
    tag: 'templates',
    summary: 'Change the name, the labels or the number of armed processes',
    params: templateParams,
    body: TemplateUpdate,
    answer: { status: 200, schema: Template },
    errors: ['TEMPLATE_NOT_FOUND', 'INVALID_NAME', 'NAME_TAKEN', 'ILLEGAL_STATE', 'NO_CAPACITY'],
    handle: ({ engine, params, body }) => engine.updateTemplate(params.template, body),
  }),
  actionRoute({
    operationId: 'removeTemplate',
    method: 'DELETE',
    path: '/v1/templates/{template}',
    tag: 'templates',
    summary: 'Remove a template that has no children',
    params: templateParams,
    wait: true,
    answer: { status: 204 },
    errors: ['TEMPLATE_NOT_FOUND', 'IN_USE', 'ILLEGAL_STATE', 'CANCELLED'],
    handle: ({ engine, params, operationId }) => engine.removeTemplate(params.template, { operationId }),
  }),
  actionRoute({
    operationId: 'forkTemplate',
    method: 'POST',
    path: '/v1/templates/{template}/fork',
    tag: 'templates',
    summary: 'Fork children from a template; one result per child',
    description:
      'Each child goes on from the memory of the template, with its own identity, proved before its workload ' +
      'runs. Children that failed are told of beside those that succeeded; with `atomic` it is all or none.',
    params: templateParams,
    body: ForkRequest,
    bodyOptional: true,
    bodyLimitBytes: limits.forkBodyBytes,
    wait: true,
    creates: true,
    answer: { status: 201, schema: ForkResult },
    errors: ['TEMPLATE_NOT_FOUND', ...forkErrors],
    handle: ({ engine, params, body, operationId, requestedAtMs }) =>
      engine.forkTemplate(params.template, body, { operationId, requestedAtMs }),
  }),
]
