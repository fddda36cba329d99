import { displayPath } from "../platform/raw-path.ts";
import { SHORT_ID_LENGTH, type Snapshot } from "../repository/snapshots.ts";

/** A snapshot in the shape of restic's JSON. Paths that are not UTF-8 are escaped as for people. */
export function snapshotJson({ id, record, sealed }: Snapshot): object {
  const { time, host, parent, files, directories, others, sizeBytes, addedBytes, storedBytes, complete } = record.open;
  const { paths, tags, user, program, excludes, root, statistics } = sealed;
  return {
    time,
    ...(parent !== null && { parent }),
    tree: Buffer.from(root.tree).toString("hex"),
    paths: paths.map(displayPath),
    hostname: host,
    username: user,
    ...(excludes.length > 0 && { excludes }),
    ...(tags.length > 0 && { tags }),
    program_version: program,
    summary: {
      files_new: statistics.filesNew,
      files_changed: statistics.filesChanged,
      files_unmodified: statistics.filesUnmodified,
      dirs_new: statistics.directoriesNew,
      dirs_changed: statistics.directoriesChanged,
      dirs_unmodified: statistics.directoriesUnmodified,
      data_blobs: statistics.dataBlobs,
      tree_blobs: statistics.treeBlobs,
      data_added: addedBytes,
      data_added_packed: storedBytes,
      total_files_processed: files,
      total_dirs_processed: directories,
      total_others_processed: others,
      total_bytes_processed: sizeBytes,
    },
    complete,
    id,
    short_id: id.slice(0, SHORT_ID_LENGTH),
  };
}
