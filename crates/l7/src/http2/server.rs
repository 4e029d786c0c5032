//! Frames that only servers send, or that mean something else from them: responses, their bodies, their resets.

use super::block::collect;
use super::frame::{FrameHeader, Violation, code, data_len, flag};
use super::streams::Answer;
use super::{Http2, flood, pass, response};
use crate::inspector::{Context, Side, Step};

impl Http2 {
    pub(super) fn server_headers(
        &mut self,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        let id = head.stream;
        if self.streams.idle(id) {
            return Err(Violation::PROTOCOL);
        }
        let max_frame = self.client.largest_frame();
        let Some(block) = collect(bytes, head, max_frame, self.max_block, &mut self.block)? else {
            return Ok(Step::NeedMore);
        };
        let len = block.len;
        self.server.blocks.read(block.octets)?;
        self.server.idle.earn(flood::PER_MOVE);
        self.client.idle.earn(flood::PER_MOVE);
        // A stream that the client has reset: the block counts for its table, and nothing else does.
        let Some(stream) = self.streams.get(id) else { return Ok(Step::Pass { counted: len, free: 0 }) };
        if stream.refused {
            return Err(Violation::PROTOCOL);
        }
        if !stream.server_open {
            return Err(Violation::STREAM_CLOSED);
        }
        let end_stream = head.has(flag::END_STREAM);
        let fields = self.server.blocks.fields();
        match stream.answer {
            Answer::Awaited => {
                let status = response::status(fields)?;
                let interim = status < 200;
                if interim && end_stream {
                    return Err(Violation::MESSAGE);
                }
                if end_stream || (!interim && !stream.grpc) {
                    stream.tell(id, status, response::grpc_status(fields), cx.now, cx.judge);
                } else if !interim {
                    stream.answer = Answer::Head(status);
                }
            }
            Answer::Head(_) | Answer::Told => {
                response::check_trailers(fields)?;
                if !end_stream {
                    return Err(Violation::MESSAGE);
                }
                if let Answer::Head(status) = stream.answer {
                    stream.tell(id, status, response::grpc_status(fields), cx.now, cx.judge);
                }
            }
        }
        if end_stream {
            self.end_server(id, cx);
        }
        Ok(Step::Pass { counted: len, free: 0 })
    }

    pub(super) fn server_data(
        &mut self,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        let Some((counted, _)) = data_len(head, bytes)? else { return Ok(Step::NeedMore) };
        if self.streams.idle(head.stream) {
            return Err(Violation::PROTOCOL);
        }
        if head.len > self.server.window {
            return Err(Violation::FLOW_CONTROL);
        }
        if head.len > self.server.window.saturating_sub(self.debt) {
            // Fits the server's view of the client's window, and not the client's. Its next credit settles that.
            return Ok(Step::NeedMore);
        }
        let end_stream = head.has(flag::END_STREAM);
        self.ration_data(Side::Server, head, cx.now)?;
        if let Some(stream) = self.streams.get(head.stream) {
            if stream.refused || stream.answer == Answer::Awaited {
                return Err(Violation::PROTOCOL);
            }
            if !stream.server_open {
                return Err(Violation::STREAM_CLOSED);
            }
        }
        self.server.spend(head.len)?;
        if end_stream {
            self.end_server(head.stream, cx);
        }
        Ok(Step::Pass { counted, free: (head.total() - counted) as u64 })
    }

    pub(super) fn server_reset(
        &mut self,
        head: FrameHeader,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Step, Violation> {
        let Some(reason) = self.reset_code(head, bytes)? else { return Ok(Step::NeedMore) };
        let id = head.stream;
        // A client that makes the server reset its streams spends the server's time as with resets of its own
        // (CVE-2025-8671).
        if matches!(
            reason,
            code::PROTOCOL_ERROR | code::FLOW_CONTROL_ERROR | code::STREAM_CLOSED | code::FRAME_SIZE_ERROR
        ) {
            self.client.resets.charge(cx.now)?;
        }
        let Some(stream) = self.streams.get(id) else {
            self.server.idle.charge(cx.now)?;
            return Ok(pass(head));
        };
        if stream.refused {
            return Err(Violation::PROTOCOL);
        }
        stream.tell_rest(id, cx.now, cx.judge);
        if stream.client_open && stream.server_open {
            stream.server_open = false;
            self.streams.leave(id);
        } else if stream.client_open {
            // It had ended its half before: the answer is complete, the rest of the request is not wanted.
            self.streams.leave(id);
        } else {
            self.finish_stream(id);
        }
        Ok(pass(head))
    }

    /// The server has ended its half of a stream.
    fn end_server(&mut self, id: u32, cx: &mut Context<'_>) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.tell_rest(id, cx.now, cx.judge);
        stream.server_open = false;
        if !stream.client_open {
            self.finish_stream(id);
        }
    }
}
