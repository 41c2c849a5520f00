import { z } from 'zod'
import { Image, ImageBuild, ImageImport, ImagePage } from '../../api/image.ts'
import { ImageRef, pageQuery } from '../../api/primitives.ts'
import { limits } from '../../shared/limits.ts'
import { limitedBody } from '../bytes.ts'
import { actionRoute, bytesBody, type Route, valueRoute } from '../route.ts'

const imageParams = z.object({ image: ImageRef })
const location = (value: unknown) => `/v1/images/${(value as Image).id}`

export const imageRoutes: Route[] = [
  valueRoute({
    operationId: 'listImages',
    method: 'GET',
    path: '/v1/images',
    tag: 'images',
    summary: 'List images, oldest first',
    query: z.strictObject(pageQuery),
    answer: { status: 200, schema: ImagePage },
    errors: [],
    handle: ({ engine, query }) => engine.listImages(query),
  }),
  valueRoute({
    operationId: 'getImage',
    method: 'GET',
    path: '/v1/images/{image}',
    tag: 'images',
    summary: 'Look at one image',
    params: imageParams,
    answer: { status: 200, schema: Image },
    errors: ['IMAGE_NOT_FOUND'],
    handle: ({ engine, params }) => engine.getImage(params.image),
  }),
  actionRoute({
    operationId: 'buildImage',
    method: 'POST',
    path: '/v1/images/build',
    tag: 'images',
    summary: 'Build an image by its recipe',
    body: ImageBuild,
    wait: false,
    creates: true,
    answer: { status: 201, schema: Image, location },
    errors: [
      'INVALID_NAME',
      'NAME_TAKEN',
      'IMAGE_BUILD_FAILED',
      'NO_SPACE',
      'HOST_UNFIT',
      'PRIVILEGE',
      'TIMEOUT',
      'CANCELLED',
    ],
    handle: ({ engine, body, operationId }) => engine.buildImage(body, { operationId }),
  }),
  actionRoute({
    operationId: 'importImage',
    method: 'POST',
    path: '/v1/images/import',
    tag: 'images',
    summary: 'Import an image: a root file system as tar, or a disk as ext4 or qcow2',
    description: 'The file is the body. The operation begins once the whole body has been received.',
    query: ImageImport,
    body: bytesBody,
    bodyLimitBytes: limits.imageBodyBytes,
    wait: false,
    creates: true,
    answer: { status: 201, schema: Image, location },
    errors: [
      'INVALID_NAME',
      'NAME_TAKEN',
      'IMAGE_INVALID',
      'NO_SPACE',
      'HOST_UNFIT',
      'PRIVILEGE',
      'TIMEOUT',
      'CANCELLED',
    ],
    handle: ({ engine, query, body, header, operationId }) =>
      engine.importImage(query, limitedBody(body, header('content-length'), limits.imageBodyBytes), { operationId }),
  }),
  actionRoute({
    operationId: 'removeImage',
    method: 'DELETE',
    path: '/v1/images/{image}',
    tag: 'images',
    summary: 'Remove an image that nothing depends on',
    params: imageParams,
    wait: true,
    answer: { status: 204 },
    errors: ['IMAGE_NOT_FOUND', 'IN_USE', 'ILLEGAL_STATE', 'CANCELLED'],
    handle: ({ engine, params, operationId }) => engine.removeImage(params.image, { operationId }),
  }),
]
